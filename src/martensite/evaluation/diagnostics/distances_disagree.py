"""The search for the nearest adversarial leaves samples that attacks inside the ball break: the curve between is too high."""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence

SHARE = 0.05  # of the samples


def distances_disagree(evidence: Evidence) -> Diagnostic | None:
    """At each eps that was measured on its own, what a minimum-norm attack that ran on all samples missed."""
    tally = evidence.tally
    nearest = [one for one in tally.judging if not one.method.bounded and one.job.role == "all"]
    if not nearest:
        return None
    gaps: dict[float, int] = {}
    for one in (*tally.curve, *(one for one in tally.judging if one.method.bounded and one.job.role == "all")):
        missed = one.broken & tally.correct
        for search in nearest:
            missed = missed & ~(search.distance <= one.job.threat.eps * (1 + 1e-6))
        gaps[one.job.threat.eps] = max(gaps.get(one.job.threat.eps, 0), int(missed.sum()))
    eps, gap = max(gaps.items(), key=lambda pair: pair[1], default=(0.0, 0))
    if gap <= SHARE * tally.n:
        return None
    return Diagnostic(
        name="distances_disagree",
        severity="warning",
        evidence=f"at eps {eps:.4g} attacks inside the ball break {gap} of {tally.n} samples for which "
        f"{', '.join(one.job.name for one in nearest)} found no adversarial as near",
        remedy="read the curve at the eps that were measured, and distances as upper bounds; give the search more steps",
    )
