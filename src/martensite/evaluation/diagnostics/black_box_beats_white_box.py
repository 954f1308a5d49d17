"""Queries find what gradients did not: the gradients mislead."""

import torch

from martensite.evaluation.adaptive import BARE
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence, by_gradients
from martensite.evaluation.intervals import clopper_pearson

FEW, SURE = 0.01, 0.02  # of the samples that gradients left: what luck explains, and what it doesn't


def black_box_beats_white_box(evidence: Evidence) -> Diagnostic | None:
    """Samples that attacks by gradients left, and an attack by scores or labels broke."""
    # Gradients of a defended model without its defences are the model's own as well.
    white = [one for one in evidence.tally.judging if by_gradients(one) or one.job.surrogate == BARE]
    black = [one for one in evidence.tally.judging if one not in white]
    if not white or not black:
        return None
    left = evidence.tally.correct & ~torch.stack([one.broken for one in white]).any(0)
    left &= torch.stack([one.ran for one in black]).any(0)
    found, n = int((torch.stack([one.broken for one in black]).any(0) & left).sum()), int(left.sum())
    if not n or found <= FEW * n:
        return None
    return Diagnostic(
        name="black_box_beats_white_box",
        severity="invalid" if clopper_pearson(found, n)[0] > SURE else "warning",
        evidence=f"{', '.join(one.job.name for one in black)} break {found} of {n} samples that attacks by gradients left",
        remedy="gradients are masked: attack through the stage that masks them (BPDA, EOT), or with many more queries",
    )
