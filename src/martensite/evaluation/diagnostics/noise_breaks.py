"""Random noise of the same size: an attack that does no better than chance measures nothing."""

import torch

from martensite.core.rng import streams
from martensite.evaluation.adaptive import misjudged
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.intervals import clopper_pearson

DRAWS, SAMPLES = 10, 500
SURE = 0.01  # share of the samples that fall to noise alone, beyond what luck explains


def noise_breaks(evidence: Evidence) -> Diagnostic | None:
    """Points drawn at random in the ball, on samples that were correct; not under constraints, which noise does not keep."""
    rows = evidence.tally.correct.nonzero().flatten()[:SAMPLES]
    if not len(rows) or evidence.threat.constraints is not None:
        return None
    x, y, found = evidence.data.x[rows], evidence.data.y[rows], torch.zeros(len(rows), dtype=torch.bool)
    rng = streams(evidence.seed, "evaluate/noise", rows)
    for _ in range(DRAWS):
        found |= misjudged(evidence.model, evidence.threat.random_start(x, rng), y)
    broken = evidence.tally.broken[rows]
    beyond, by_noise, by_attack = int((found & ~broken).sum()), int(found.sum()), int(broken.sum())
    if not by_noise or (not beyond and by_attack > by_noise):
        return None
    worse = by_attack < by_noise or clopper_pearson(beyond, len(rows))[0] > SURE
    return Diagnostic(
        name="noise_breaks",
        severity="invalid" if worse else "warning",
        evidence=f"{DRAWS} random points of the ball break {by_noise} of {len(rows)} samples and the attacks {by_attack}; "
        f"{beyond} fall to noise alone",
        remedy="the attacks do no better than chance: check their steps, their loss, and whether the model answers at random",
    )
