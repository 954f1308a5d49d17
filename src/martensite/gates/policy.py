"""Policies: shipped by name, in short form (YAML) or in Rego."""

import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from martensite.artifacts.attest.predicates import GateCheck
from martensite.artifacts.weights import read_file
from martensite.core.config import load_yaml, nearest
from martensite.core.errors import ConfigError
from martensite.core.files import sha256
from martensite.gates.rego import evaluate, verification
from martensite.gates.short_form import ShortForm, Verification, Waiver

SHIPPED = ("default", "research", "strict")
LARGEST = 2**20


@dataclass(frozen=True)
class Policy:
    """A policy, ready to judge.

    Attributes:
        name: By which it was asked for.
        digest: SHA-256 of its text.
        rego: The module that is evaluated.
        demands: Kind of claim to rules that must have an answer where such a claim counts: what a rule in Rego can't answer
            is left out of its set, and would pass unseen.
        waivers: Its own.
        reuse_hours: For how long a file that didn't change need not be read again; None: it always is.
        examples: The file with its examples, or None.
    """

    name: str
    digest: str
    rego: str
    demands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    reuse_hours: float | None = None
    examples: Path | None = None

    @classmethod
    def load(cls, source: str | Path) -> "Policy":
        """A shipped policy by name, a ``.yaml`` or a ``.rego`` file.

        Raises:
            ConfigError: no such policy, unknown keys, or no Rego of the package ``martensite.policy``.
            ArtifactError: the file can't be read.
        """
        path, name = Path(source), str(source)
        if name in SHIPPED:
            path = Path(str(files("martensite.gates") / "policies" / f"{name}.yaml"))
        elif path.suffix not in (".yaml", ".yml", ".rego"):
            raise ConfigError(
                f"there is no policy {name!r}", "a policy is a name, a .yaml or a .rego file", nearest(name, SHIPPED)
            )
        text = read_file(path, "give a policy file", LARGEST).decode("utf-8", errors="replace")
        beside = path.with_name(f"{path.stem}.examples.yaml")
        examples = beside if beside.is_file() else None
        if path.suffix == ".rego":
            if not re.search(r"^package martensite\.policy\s*$", text, re.MULTILINE):
                raise ConfigError(f"{path} is another package", "a policy is of the package martensite.policy", "name it so")
            stated = Verification.parse(verification(text))
            return cls(name, sha256(text.encode()), text, reuse_hours=stated.reuse_hours, examples=examples)
        form = ShortForm.parse(load_yaml(text))
        wanted = form.wanted()
        demands = {kind: tuple(f"{kind}.{one}" for one in found.demands()) for kind, found in wanted.items()}
        hours = form.verification.reuse_hours
        return cls(name, sha256(text.encode()), form.rego(), demands, form.waivers, hours, examples)

    def judge(self, document: dict[str, Any]) -> tuple[GateCheck, ...]:
        """All checks that the policy makes of the evidence, sorted by rule; none has been waived yet."""
        checks = evaluate(self.rego, document)
        answered = {check.rule for check in checks}
        for kind, rules in self.demands.items():
            present = bool(document["claims"].get(kind)) and f"{kind}.serving" not in answered
            lost = [] if answered & {kind, f"{kind}.serving", f"{kind}.max_age_days"} else [kind]
            for rule in [*lost, *(rule for rule in rules if present and rule not in answered)]:
                reason = f"the claim holds nothing by which {rule} could be judged"
                checks += (GateCheck(rule=rule, verdict="INCONCLUSIVE", reason=reason),)
        return tuple(sorted(checks, key=lambda one: (one.rule, one.reason)))
