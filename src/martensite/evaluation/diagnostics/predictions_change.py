"""The same input gets another answer at the next pass: a single pass is broken by luck."""

import torch

from martensite.evaluation.answers import answers
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.models import Access

CHANGE = 1e-3  # of the logits' spread: more than batching changes in float32
PAIRS, HALVINGS, REPEATS = 10, 10, 10  # between samples of two classes, of a model that gives labels only


def predictions_change(evidence: Evidence) -> Diagnostic | None:
    """Clean inputs asked about a second time; judged by many draws (EOT), randomness is no fault.

    Labels alone stay what they are as long as noise is smaller than the margin, so a model that gives no more is also asked again
    and again about points where two classes meet.
    """
    again = answers(evidence.model, evidence.data.x)
    spread = float((evidence.logits.amax(1) - evidence.logits.amin(1)).abs().mean()) or 1.0
    flipped = int((again.argmax(1) != evidence.logits.argmax(1)).sum())
    moved = int(((again - evidence.logits).abs().amax(1) > CHANGE * spread).sum())
    said = f"asked again about {len(again)} clean inputs, the model changed its logits on {moved}, its class on {flipped}"
    if not flipped and not moved:
        wavering, pairs = _between(evidence) if evidence.model.access is Access.DECISIONS else (0, 0)
        if not wavering:
            return None
        said = f"asked {REPEATS} times about a point between two classes, the model changed its class at {wavering} of {pairs}"
    prepared = all(one.method.jury.draws > 1 for one in evidence.tally.judging)
    return Diagnostic(
        name="predictions_change",
        severity="note" if prepared else "invalid",
        evidence=said,
        remedy="every figure is over many draws" if prepared else "use attacks over expectation: eot, or autoattack version rand",
    )


def _between(evidence: Evidence) -> tuple[int, int]:
    """Of points where two classes meet, how many get several labels, and how many there are; none under constraints."""
    x, label = evidence.data.x, evidence.logits.argmax(1)
    others = [(label != own).nonzero().flatten() for own in label[:PAIRS]]
    rows = [row for row, other in enumerate(others) if len(other)]
    if not rows or evidence.threat.constraints is not None:
        return 0, 0
    own, near, far = label[rows], x[rows], x[[int(others[row][0]) for row in rows]]
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        here = (answers(evidence.model, middle).argmax(1) == own).view(-1, *[1] * (x.dim() - 1))
        near, far = torch.where(here, middle, near), torch.where(here, far, middle)
    labels = torch.stack([answers(evidence.model, middle).argmax(1) for _ in range(REPEATS)])
    return int((labels != labels[0]).any(0).sum()), len(rows)
