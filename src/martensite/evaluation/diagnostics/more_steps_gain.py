"""A longer run of the same attack still breaks more: the short one had not converged."""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.intervals import clopper_pearson
from martensite.evaluation.tally import JobTally

FEW, SURE = 0.01, 0.02  # of the samples that were left


def more_steps_gain(evidence: Evidence) -> Diagnostic | None:
    """The last attack of the cascade that spends more than one of its kind before it: what it gained on what was left."""
    own = evidence.tally.judging
    for place in reversed(range(1, len(own))):
        long = own[place]
        before = [one for one in own[:place] if one.job.surrogate is None]
        shorter = [one for one in before if one.method.kind == long.method.kind and _passes(one) < _passes(long)]
        attacked = int((long.ran & evidence.tally.correct).sum())
        if long.job.role != "survivors" or not shorter or not attacked:
            continue
        gained = int((long.broken & evidence.tally.correct).sum())
        if gained <= FEW * attacked:
            return None
        return Diagnostic(
            name="more_steps_gain",
            severity="invalid" if clopper_pearson(gained, attacked)[0] > SURE else "warning",
            evidence=f"{long.job.name} breaks {gained} of {attacked} samples that everything before it had left",
            remedy="the attacks have not converged: give them more steps and restarts until nothing is gained",
        )
    return None


def _passes(one: JobTally) -> float:
    return float(sum(one.method.passes or (0, 0)))
