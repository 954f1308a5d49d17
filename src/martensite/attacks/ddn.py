"""DDN: a perturbation whose norm grows while it fails and shrinks while it succeeds, and whose direction follows the gradient.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, "Decoupling direction and norm for efficient gradient-based L2
adversarial attacks and defenses", arXiv:1811.09600, algorithm 1.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.linear import length
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns


@ATTACKS.register
class DDN(Attack):
    """Decoupled direction and norm, for L2.

    Args:
        steps: Gradient steps.
        init_norm: Norm of the first perturbation, in widths of the box.
        gamma: Share by which the norm grows or shrinks a step.
    """

    kind: Literal["ddn"] = "ddn"
    steps: PositiveInt = 100
    init_norm: PositiveFloat = 1.0
    gamma: float = Field(default=0.05, gt=0.0, lt=1.0)

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """delta <- delta + alpha g / |g|; eps <- (1 +- gamma) eps; x' = clip(x + eps delta / |delta|)."""
        nearest, point = Nearest(oracle, x, y, threat), x
        low, high = threat.box
        width = high - low
        eps = torch.full_like(nearest.distance, self.init_norm * width)
        farthest = length(torch.maximum(x - low, high - x), "l2")
        for k in range(self.steps):
            logits, gradient = oracle.gradient(point, ascend("ce", y, threat.goal))
            adversarial = nearest.note(point, logits)
            alpha = width * (0.01 + 0.99 * (1.0 + math.cos(math.pi * k / self.steps)) / 2.0)
            delta = threat.steepest_step(gradient, point).mul_(alpha).add_(point).sub_(x)
            eps = torch.minimum(torch.where(adversarial, (1.0 - self.gamma) * eps, (1.0 + self.gamma) * eps), farthest)
            scale = eps / length(delta, "l2").clamp_min(torch.finfo(x.dtype).tiny)
            point = delta.mul_(columns(scale, x)).add_(x).clamp_(low, high)
        nearest.note(point, oracle.logits(point))
        return nearest.point
