"""The gate on a bundle's evidence, as `martensite gate` runs it where the subject is a bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from martensite.cli.attest import default_claims
from martensite.cli.secrets import installed, keyring, secret_of
from martensite.core.errors import ArtifactError, ConfigError


@dataclass(frozen=True)
class Asked:
    """What was asked of the gate on the command line."""

    bundle: Path
    policy: str
    claims: Path | None
    trust: Path | None
    signature: Path | None
    serving: list[str]
    versions: Path | None
    waivers: Path | None
    key: str | None
    home: Path | None
    passphrase_file: Path | None
    json: bool


def judge(asked: Asked) -> int:
    """Decide, tell, and with a key sign the verdict into the claims; the exit code.

    Raises:
        ConfigError: nobody is trusted, or the key's role is no gate's.
    """
    installed()
    from martensite.artifacts.attest import Serving, Subject, append_claim, make_claim
    from martensite.artifacts.signing import Trust
    from martensite.cli import options
    from martensite.cli.output import COLOURS, print_json
    from martensite.cli.progress import plain, show
    from martensite.cli.reuse import digests_of
    from martensite.gates.decide import decide
    from martensite.gates.policy import Policy
    from martensite.gates.versions import Versions

    if asked.trust is None:
        raise ConfigError(
            "no --trust was given", "a bundle is judged by evidence, and evidence by whom one trusts", "give --trust"
        )
    policy, trust = Policy.load(asked.policy), Trust.from_yaml(asked.trust)
    claims = asked.claims or default_claims(asked.bundle)
    ring = keyring(asked.home) if asked.key is not None else None
    if ring is not None and ring.record(asked.key).role != "gate":
        raise ConfigError(f"the key {asked.key!r} is no gate's", "a verdict is signed by a key of the role gate", "give another")
    secret = secret_of(ring.record(asked.key), asked.passphrase_file) if ring is not None else ""
    serving = None
    if asked.serving:
        given: dict[str, Any] = options.read_settings(asked.serving)
        serving = Serving.parse({**_as_it_is(asked.bundle), **given})
    verdict = decide(
        asked.bundle,
        policy,
        claims,
        trust,
        signature=asked.signature,
        serving=serving,
        versions=Versions(asked.versions) if asked.versions is not None else None,
        waivers=read_waivers(asked.waivers),
        digests=digests_of(policy),
    )
    whole = all(check.verdict == "PASS" for check in verdict.checks if check.rule in ("signature", "bundle"))
    if ring is not None and whole:  # nothing can be claimed of what isn't signed or can't be loaded
        line = make_claim(Subject.of(asked.bundle), verdict, ring.private(secret, asked.key))
        append_claim(claims, line, bundle=asked.bundle)
    if asked.json:
        print_json(verdict.model_dump(mode="json"))
    else:
        show(f"[bold {COLOURS[verdict.verdict]}]{verdict.verdict}[/]")
        for check in verdict.checks:
            show(f"  [{COLOURS[check.verdict]}]{check.verdict:<12}[/] {check.rule}: {plain(check.reason)}")
    return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[verdict.verdict]


def _as_it_is(bundle: Path) -> dict[str, Any]:
    from martensite.artifacts.attest import Subject

    try:
        return Subject.of(bundle).serving.model_dump()
    except ArtifactError:  # the gate itself says so
        return {"dtype": "unknown"}


def read_waivers(path: Path | None) -> Any:
    """A YAML list of waivers.

    Raises:
        ConfigError: it is none.
    """
    if path is None:
        return ()
    from martensite.core.config import load_yaml
    from martensite.gates.short_form import Waiver

    document = load_yaml(path)
    if not isinstance(document, list):
        raise ConfigError(f"{path} is no list of waivers", remedy="- {rule: ..., owner: ..., reason: ..., expires: 2026-12-31}")
    return tuple(Waiver.parse(one) for one in document)
