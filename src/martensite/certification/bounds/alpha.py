"""alpha-CROWN: the lower slopes of rectifiers, chosen by gradient ascent on the bound itself.

Xu et al. 2021, "Fast and complete: enabling complete verification with rapid and massively parallel incomplete verifiers",
arXiv:2011.13824, sec. 3.1: any slope between the rectifier's two gives a valid bound, so that the best of all steps may be kept.
Each row (each rival class) has slopes of its own. Bounds of inner layers stay those of CROWN: to optimise them as well would cost
a hundred times as much.
"""

import torch
from torch import Tensor

from martensite.certification.bounds.linear import Bounds
from martensite.certification.bounds.operations import Rectifier
from martensite.certification.bounds.relaxations import Lines
from martensite.certification.bounds.rows import Rows

RATE, DECAY = 0.25, 0.95  # of Adam


def optimise(bounds: Bounds, rows: Rows, steps: int) -> Tensor:
    """(P,) lower bounds on a z, z the logits, after so many steps; it stops once all are positive.

    Args:
        bounds: Of the samples, with relaxations.
        rows: (P, K) on the logits.
        steps: Of Adam, projected onto the slopes that are valid.
    """
    with torch.no_grad():
        best = bounds.least(rows)
    slopes, limits = _start(bounds, rows.owner)
    if not slopes:
        return best
    optimiser = torch.optim.Adam(slopes.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, DECAY)
    for _ in range(steps):
        if bool((best > 0).all()):
            break
        with torch.enable_grad():
            value = bounds.least(rows, slopes)
            gradients = torch.autograd.grad(value.sum().neg(), list(slopes.values()), allow_unused=True)
        for slope, gradient in zip(slopes.values(), gradients, strict=True):
            slope.grad = gradient
        best = torch.maximum(best, value.detach())
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for place, slope in slopes.items():
                slope.copy_(slope.maximum(limits[place][0]).minimum(limits[place][1]))
    with torch.no_grad():
        return torch.maximum(best, bounds.least(rows, slopes))


def parallel(bounds: Bounds, owner: Tensor) -> dict[int, Tensor]:
    """Lower slopes (P, *d) of every rectifier that are those of its upper line, by place."""
    return {
        place: lines.upper_slope[owner]
        for place, lines in bounds.relaxations.items()
        if isinstance(bounds.graph.nodes[place].op, Rectifier) and isinstance(lines, Lines)
    }


def _start(bounds: Bounds, owner: Tensor) -> tuple[dict[int, Tensor], dict[int, tuple[Tensor, Tensor]]]:
    """The adaptive slopes of every rectifier, a row each, and what they may become; where no choice is open they stay."""
    slopes, limits = {}, {}
    for place, lines in bounds.relaxations.items():
        op = bounds.graph.nodes[place].op
        if not isinstance(op, Rectifier) or not isinstance(lines, Lines):
            continue
        interval = bounds.intervals[bounds.graph.nodes[place].inputs[0]]
        least = torch.where(interval.low >= 0, 1.0, torch.full_like(interval.low, op.slope))
        most = torch.where(interval.high <= 0, op.slope, torch.ones_like(interval.high))
        slopes[place] = lines.lower_slope[owner].clone().requires_grad_()
        limits[place] = least[owner], most[owner]
    return slopes, limits
