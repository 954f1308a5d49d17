"""A longer run of the same attack still breaks more: the short one had not converged."""

from martensite.core.rng import derive
from martensite.evaluation.adaptive import assault
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.intervals import clopper_pearson
from martensite.evaluation.tally import JobTally

FEW, SURE = 0.01, 0.02  # of the samples that were left
SAMPLES, LONGER = 50, 4  # that a search of so many times the steps is tried on, where the suite has none of its own


def more_steps_gain(evidence: Evidence) -> Diagnostic | None:
    """What more steps gained on samples that everything else had left.

    By the last attack of the cascade that spends more than one of its kind before it; of a suite without such a pair by its
    longest search, run once more on a few of the robust samples with four times the steps.
    """
    own = evidence.tally.judging
    for place in reversed(range(1, len(own))):
        long = own[place]
        before = [one for one in own[:place] if one.job.surrogate is None]
        shorter = [one for one in before if one.method.kind == long.method.kind and _passes(one) < _passes(long)]
        attacked = int((long.ran & evidence.tally.correct).sum())
        if long.job.role == "survivors" and shorter and attacked:
            gained = int((long.broken & evidence.tally.correct).sum())
            return _finding(
                gained, attacked, f"{long.job.name} breaks {gained} of {attacked} samples that everything before it had left"
            )
    return _once_more(evidence)


def _once_more(evidence: Evidence) -> Diagnostic | None:
    rows = (evidence.tally.correct & ~evidence.tally.broken & ~evidence.tally.error).nonzero().flatten()[:SAMPLES]
    searches = [one for one in evidence.iterative() if "steps" in type(one.method).model_fields]
    if not searches or not len(rows):
        return None
    longest = max(searches, key=_passes)
    more = LONGER * int(longest.method.model_dump(include={"steps"})["steps"])
    method = longest.method.model_copy(update={"steps": more})
    seed = derive(evidence.seed, "evaluate/more_steps")
    x, y = evidence.data.x[rows], evidence.data.y[rows]
    gained = int(assault(method, evidence.model, x, y, evidence.threat, seed=seed, indices=rows).success.sum())
    said = f"{longest.job.name} with {more} steps breaks {gained} of {len(rows)} samples that the suite had left"
    return _finding(gained, len(rows), said)


def _finding(gained: int, attacked: int, evidence: str) -> Diagnostic | None:
    if gained <= FEW * attacked:
        return None
    return Diagnostic(
        name="more_steps_gain",
        severity="invalid" if clopper_pearson(gained, attacked)[0] > SURE else "warning",
        evidence=evidence,
        remedy="the attacks have not converged: give them more steps and restarts until nothing is gained",
    )


def _passes(one: JobTally) -> float:
    return float(sum(one.method.passes or (0, 0)))
