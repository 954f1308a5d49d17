"""A certificate says that no adversarial is there, and an attack holds one: one of the two is wrong."""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence

ROUNDING = 1e-6  # of distances in float32


def contradiction(evidence: Evidence) -> Diagnostic | None:
    """Samples with an adversarial nearer than their certified radius."""
    if evidence.certified is None:
        return None
    nearest, radius = evidence.tally.nearest, evidence.certified.double()
    both = evidence.tally.correct & (nearest < radius * (1 - ROUNDING))
    if not bool(both.any()):
        return None
    place = int(both.nonzero()[0])
    return Diagnostic(
        name="contradiction",
        severity="invalid",
        evidence=f"{int(both.sum())} samples have an adversarial inside their certified radius; sample {place} is certified to "
        f"{float(radius[place]):.4g} and broken at {float(nearest[place]):.4g}",
        remedy="stop: the certifier, the attack's verifier or the pairing of the two is wrong",
    )
