"""Two aims, one step: a wrong answer and a silent alarm, whose gradients often undo each other.

Bryniarski, Hingun, Pachuca, Wang and Carlini 2022, "Evading adversarial example detection defenses with orthogonal projected
gradient descent", ICLR, arXiv:2106.15023, sec. 4: a step takes the gradient of the aim that isn't reached yet, without its part
along the other one's; here only where that part is against it. The sum of both ends where they cancel, short of either.
"""

from typing import Any

import torch
from torch import Tensor

COLLINEAR = 1e-2  # of a gradient's length: what is left of it where two are as good as opposite


class Conflict:
    """An input (n, *d) in two parts, whose gradients come together so.

    Attributes:
        answers: For what the model answers.
        alarms: For what the detectors say.
        fooled: (n,) bool, to be set before the backward pass: the answer is wrong, and the alarm is what is left to be climbed.
    """

    def __init__(self, x: Tensor) -> None:
        self.fooled: Tensor | None = None
        parts: tuple[Tensor, Tensor] = _Fork.apply(x, self)  # type: ignore[no-untyped-call]
        self.answers, self.alarms = parts


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conflict: Conflict) -> tuple[Tensor, Tensor]:
        ctx.conflict = conflict
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, answers: Tensor, alarms: Tensor) -> tuple[Tensor, None]:
        fooled = ctx.conflict.fooled
        if fooled is None:
            return answers + alarms, None
        first, other = answers.flatten(1).float(), alarms.flatten(1).float()
        first, other = torch.where(fooled[:, None], other, first), torch.where(fooled[:, None], first, other)
        against = (first * other).sum(1, keepdim=True).clamp_max(0.0)  # what serves both is kept
        across = first - against / other.square().sum(1, keepdim=True).clamp_min(1e-30) * other
        # Where the two are opposite there is no way across, and the first aim is reached through the other.
        nothing = across.norm(dim=1, keepdim=True) < COLLINEAR * first.norm(dim=1, keepdim=True)
        return torch.where(nothing, first, across).view_as(answers).to(answers.dtype), None
