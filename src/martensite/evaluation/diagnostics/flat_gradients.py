"""Gradients that are zero, or next to it, where the search begins: masked, or a saturated loss."""

from martensite.attacks.trust import FLAT
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence, by_gradients

MOST = 0.5  # of the samples, above which an attack can't be said to have searched


def flat_gradients(evidence: Evidence) -> Diagnostic | None:
    """Invalid if no attack by gradients had one to follow on most samples; a warning if only some hadn't."""
    asked = [one for one in evidence.tally.judging if by_gradients(one) and one.counts["seen"]]
    shares = {one.job.name: one.counts["flat"] / one.counts["seen"] for one in asked}
    flat = {name: share for name, share in shares.items() if share > FLAT}
    if not flat:
        return None
    blind = all(share > MOST for share in shares.values())
    return Diagnostic(
        name="flat_gradients",
        severity="invalid" if blind else "warning",
        evidence="the gradient is zero, or next to it, where the search began: "
        + ", ".join(f"{name} on {share:.0%}" for name, share in flat.items()),
        remedy="try the loss margin or dlr, an attack by scores such as square, or BPDA for a stage without a gradient",
    )
