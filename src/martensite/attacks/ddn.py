"""DDN: a perturbation whose norm grows while it fails and shrinks while it succeeds, and whose direction follows the gradient.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, "Decoupling direction and norm for efficient gradient-based L2
adversarial attacks and defenses", arXiv:1811.09600, algorithm 1.

Two things here have the scale of the problem instead of the paper's fixed one (MNIST's). The first norm and step are twice the
distance of the linearised boundary (the paper: 1): on a PGD-trained network that left the median a tenth shorter, on an
undefended one the same. And cross-entropy is taken of logits whose clean margin is rescaled to 16: logits have no scale of their
own, and with small ones cross-entropy points at the mean of all wrong classes.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.linear import grain, length, rounding
from martensite.attacks.losses import ascend, margin
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns

CLEAN_MARGIN = 16.0
FIRST = 2.0  # distances of the linearised boundary


@ATTACKS.register
class DDN(Attack):
    """Decoupled direction and norm, for L2.

    Args:
        steps: Gradient steps.
        init_norm: First norm, and length of the first step, in widths of the box; None: see above.
        gamma: Share by which the norm grows or shrinks a step.
        search: Forward passes of a search along the line to the clean input at the end; 0: none, as in the paper.
    """

    kind: Literal["ddn"] = "ddn"
    steps: PositiveInt = 100
    init_norm: PositiveFloat | None = None
    gamma: float = Field(default=0.05, gt=0.0, lt=1.0)
    search: NonNegativeInt = 3

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """delta <- delta + alpha g / |g|; eps <- (1 +- gamma) eps; x' = clip(x + eps delta / |delta|)."""
        nearest, point = Nearest(oracle, x, y, threat), x
        low, high = threat.box
        tiny = torch.finfo(x.dtype).tiny
        farthest = length(torch.maximum(x - low, high - x), "l2")
        first = eps = torch.full_like(farthest, (self.init_norm or 0.0) * (high - low))
        clean = nearest.clean()
        temperature = torch.maximum(margin(clean, y).abs() / CLEAN_MARGIN, rounding(clean))[:, None]
        temperature = torch.where(temperature > 0, temperature, 1.0)
        odds = ascend("odds", y, threat.goal)  # the direction of cross-entropy, which alone counts here
        for k in range(self.steps):
            logits, gradient = oracle.gradient(point, lambda logits: odds(logits / temperature))
            adversarial = nearest.note(point, logits)
            if k == 0 and self.init_norm is None:
                height = (odds(logits / temperature).abs() + 1.0).to(x.dtype) + grain(gradient, threat.box)
                first = eps = torch.minimum(FIRST * height / length(gradient, "l2").clamp_min(tiny), farthest)
            alpha = first * (0.01 + 0.99 * (1.0 + math.cos(math.pi * k / self.steps)) / 2.0)
            direction = threat.steepest_step(gradient, point)
            if bool((lost := ~direction.flatten(1).any(1)).any()):
                noise = rng.fork("lost", k).normal(x.shape[1:]).to(x)
                direction = torch.where(columns(lost, x) > 0, threat.steepest_step(noise, point), direction)
            delta = direction.mul_(columns(alpha, x)).add_(point).sub_(x)
            eps = torch.minimum(torch.where(adversarial, (1.0 - self.gamma) * eps, (1.0 + self.gamma) * eps), farthest)
            scale = eps / length(delta, "l2").clamp_min(tiny)
            point = delta.mul_(columns(scale, x).clamp_max(torch.finfo(x.dtype).max)).add_(x).clamp_(low, high)
        nearest.note(point, oracle.logits(point))
        nearest.approach(self.search)
        return nearest.point
