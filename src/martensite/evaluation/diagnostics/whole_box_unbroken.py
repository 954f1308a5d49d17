"""With eps as wide as the box any input may become any other: an attack that leaves accuracy there is stuck."""

import torch

from martensite.attacks import Attack
from martensite.evaluation.adaptive import assault
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.evaluation.intervals import clopper_pearson

SAMPLES = 50
LOST = 0.02  # share that may be left by bad luck


def whole_box_unbroken(evidence: Evidence) -> Diagnostic | None:
    """The suite's attacks on a few samples at the largest eps there is; not under constraints, which may leave nowhere to go."""
    rows = evidence.tally.correct.nonzero().flatten()[:SAMPLES]
    own = [one for one in evidence.tally.judging if one.job.role == "all" and one.job.surrogate is None]
    methods = [one.method for one in own if one.method.bounded]
    if not len(rows) or not methods or evidence.threat.constraints is not None:
        return None
    x, y = evidence.data.x[rows], evidence.data.y[rows]
    threat = evidence.threat.at(evidence.threat.ball.diameter(x[0].numel(), evidence.threat.box))
    left = torch.ones(len(rows), dtype=torch.bool)
    for method in methods:
        result = assault(method, evidence.model, x[left], y[left], threat, seed=evidence.seed, indices=rows[left])
        left[left.clone()] = result.robust | result.error
        if not bool(left.any()):
            return None
    count = int(left.sum())
    sure = clopper_pearson(count, len(rows))[0] > LOST
    return Diagnostic(
        name="whole_box_unbroken",
        severity="invalid" if sure else "warning",
        evidence=f"at eps {threat.eps:.4g}, which is the whole box, {count} of {len(rows)} samples withstand {_names(methods)}",
        remedy="the attacks are stuck, so robustness at any eps is overestimated: use a loss on logits, BPDA, EOT or more steps",
    )


def _names(methods: list[Attack]) -> str:
    return ", ".join(dict.fromkeys(method.kind for method in methods))
