import pytest

from martensite.evaluation.report import AttackRow, DataRecord, Environment, Rate, RobustnessReport
from martensite.threat import ThreatModel


@pytest.fixture
def measured():
    """A report made by hand: so many samples robust, broken, misclassified, in error, in this order unless `outcomes` says."""

    def make(robust=0, broken=0, misclassified=0, error=0, *, outcomes=None, **changes):
        given = ["robust"] * robust + ["broken"] * broken + ["misclassified"] * misclassified + ["error"] * error
        outcomes = tuple(given if outcomes is None else outcomes)
        n, wrong, held = len(outcomes), outcomes.count("misclassified"), outcomes.count("robust")
        row = AttackRow(
            name="pgd",
            attack={"kind": "pgd", "steps": 40},
            robust_accuracy=Rate.of(held, n),
            broken=outcomes.count("broken"),
            errors=outcomes.count("error"),
            forwards=1,
            backwards=1,
        )
        values = {
            "model_digest": "sha256:m",
            "data": DataRecord(name="d", split="test", n=n, classes=2, shape=(4,), digest="sha256:d"),
            "threat": ThreatModel(norm="linf", eps=0.1),
            "suite": "standard",
            "seed": 0,
            "clean_accuracy": Rate.of(n - wrong, n),
            "robust_accuracy": Rate.of(held, n),
            "attacks": (row,),
            "curve": (),
            "outcomes": outcomes,
            "broken_by": tuple("pgd" if outcome == "broken" else None for outcome in outcomes),
            "environment": Environment.here(),
        }
        return RobustnessReport(**values | changes)

    return make
