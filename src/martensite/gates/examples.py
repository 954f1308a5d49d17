"""A policy's own examples: evidence, changed here and there, and what the policy has to say of it.

    examples:
      - name: the attacks were too strong for it
        set: {claims.robustness.0.predicate.robust_accuracy: {value: 0.2, low: 0.15, high: 0.25}}
        expect: FAIL
        rules: [robustness.min_robust_accuracy]

Each starts from a model with claims of every kind, fresh and favourable (`specimen`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from martensite.core.config import Config, load_yaml
from martensite.core.errors import ConfigError
from martensite.gates.policy import Policy

NOW = 1_800_000_000.0
DAY = 86_400.0


class Example(Config):
    """One case.

    Attributes:
        name: What it shows.
        set: Dotted place in the evidence to a new value; ``days`` in place of ``created`` is an age.
        remove: Places to remove.
        expect: The verdict.
        rules: Exactly those that must not pass.
    """

    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    remove: tuple[str, ...] = ()
    expect: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    rules: tuple[str, ...] = ()


class Examples(Config):
    """NAME.examples.yaml, beside the policy."""

    examples: tuple[Example, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Outcome:
    """How an example came out; ``""`` as complaint: as it should."""

    name: str
    complaint: str


def try_examples(policy: Policy) -> list[Outcome]:
    """Run a policy's examples.

    Raises:
        ConfigError: it has none, or a place that isn't there.
    """
    if policy.examples is None:
        raise ConfigError(
            f"the policy {policy.name!r} has no examples", "they stand beside it", "write NAME.examples.yaml beside NAME.yaml"
        )
    return [_try(policy, example) for example in Examples.parse(load_yaml(policy.examples)).examples]


def specimen() -> dict[str, Any]:
    """The evidence that examples start from."""
    rate = {"value": 0.95, "low": 0.93, "high": 0.97, "count": 1900, "n": 2000}
    serving: dict[str, Any] = {"dtype": "float32", "preprocessing": "none", "defences": [], "quantisation": "none"}
    measured: dict[str, Any] = {"n": 2000, "serving": serving}
    robustness = {
        **measured,
        "threat": {"norm": "linf", "eps": 0.3},
        "suite": {"name": "standard", "digest": "sha256:0"},
        "clean_accuracy": rate,
        "robust_accuracy": rate,
        "canaries": [{"name": name, "passed": True} for name in ("linear", "masked", "stochastic")],
        "diagnostics": [],
        "warnings": [],
        "errors": [],
        "unattacked": 0,
    }
    predicates: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "robustness": [("Eva", robustness)],
        "certification": [("Eva", {**measured, "certified": [{"eps": place / 4, "accuracy": rate} for place in range(9)]})],
        "privacy": [("Eva", {"epsilon": 1.0, "delta": 1e-6})],
        "scan": [("Eva", {"files": {"0": "clean", "1": "clean"}, "findings": []})],
        "training": [("Rex", {})],
        "data": [("Rex", {})],
        "bom": [("Rex", {"components": 3})],
        "release": [("Rex", {"name": "model", "version": 2})],
        "approval": [(owner, {"reason": "read it"}) for owner in ("Ann", "Bob", "Cleo")],
    }
    claims = {
        kind: [{"line": 1, "key": who, "owner": who, "created": NOW - DAY, "predicate": content} for who, content in made]
        for kind, made in predicates.items()
    }
    verification = {"files": 4, "reused": 0}
    return {
        "now": NOW, "serving": serving, "requesters": ["Rex"], "recorded": True, "audited": True, "refused": {},
        "claims": claims, "verification": verification,
    }  # fmt: skip


def _try(policy: Policy, example: Example) -> Outcome:
    evidence = specimen()
    for place in example.remove:
        parent, last = _parent(evidence, place)
        del parent[last]
    for place, value in example.set.items():
        parent, last = _parent(evidence, place)
        if last == "days":
            last, value = "created", NOW - DAY * value
        parent[last] = value
    checks = policy.judge(evidence)
    words = {check.verdict for check in checks}
    verdict = "FAIL" if "FAIL" in words else "PASS" if words == {"PASS"} else "INCONCLUSIVE"
    open_rules = sorted({check.rule for check in checks if check.verdict != "PASS"})
    if verdict != example.expect:
        why = "; ".join(f"{check.rule}: {check.reason}" for check in checks if check.verdict != "PASS")
        return Outcome(example.name, f"{verdict} instead of {example.expect}{': ' if why else ''}{why}")
    if open_rules != sorted(example.rules):
        return Outcome(example.name, f"not passed: {', '.join(open_rules)}; expected: {', '.join(sorted(example.rules))}")
    return Outcome(example.name, "")


def _parent(evidence: Any, place: str) -> tuple[Any, Any]:
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    try:
        for part in path:
            evidence = evidence[part]
        if last != "days":
            evidence[last]
    except (LookupError, TypeError):
        raise ConfigError(f"the example's place {place!r} is not there", remedy="e.g. claims.robustness.0.predicate.n") from None
    return evidence, last
