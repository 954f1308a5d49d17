"""FMN: steps on the margin, projected onto a ball that is drawn in or out to lie on the decision boundary.

Pintor, Roli, Brendel and Biggio 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints",
arXiv:2102.12827, algorithm 1.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.linear import DUAL, grain, length, rounding, step_to_plane
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import BALLS, Norm, ThreatModel
from martensite.threat.ball import Box, columns


@ATTACKS.register
class FMN(Attack):
    """Fast minimum norm.

    Args:
        steps: Gradient steps.
        alpha: L2 length of the first step, in widths of the box.
        alpha_final: Of the last step, after cosine annealing; None: alpha / 100.
        gamma: Share by which the ball first grows or shrinks.
        gamma_final: By which it does last, after cosine annealing.
        search: For L0, forward passes at the end, to try how few of the features that weigh most will do; 0: none, as in the
            paper.
    """

    kind: Literal["fmn"] = "fmn"
    steps: PositiveInt = 100
    alpha: PositiveFloat = 1.0
    alpha_final: PositiveFloat | None = None
    gamma: float = Field(default=0.05, gt=0.0, lt=1.0)
    gamma_final: float = Field(default=0.001, gt=0.0, lt=1.0)
    search: NonNegativeInt = 10

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1", "l0")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """eps-step, then x' = clip(x + project(delta + alpha g / |g|_2, eps))."""
        nearest, point, norm = Nearest(oracle, x, y, threat), x, threat.norm
        low, high = threat.box
        farthest = length(torch.maximum(x - low, high - x), norm)
        eps = torch.ones_like(farthest) if norm == "l0" else torch.zeros_like(farthest)
        loss = ascend("margin", y, threat.goal)
        first, last = self.alpha, self.alpha / 100.0 if self.alpha_final is None else self.alpha_final
        for k in range(self.steps):
            cosine = (1.0 + math.cos(math.pi * k / self.steps)) / 2.0
            alpha = (high - low) * (last + (first - last) * cosine)
            gamma = self.gamma_final + (self.gamma - self.gamma_final) * cosine
            logits, gradient = oracle.gradient(point, loss)
            adversarial = nearest.note(point, logits)
            if norm == "l0":
                shrunk = torch.minimum(eps - 1, (eps * (1.0 - gamma)).floor())
                grown = torch.maximum(eps + 1, (eps * (1.0 + gamma)).floor())
            else:
                shrunk, grown = eps * (1.0 - gamma), eps * (1.0 + gamma)
            shrunk = torch.minimum(shrunk, nearest.distance)
            if not bool(nearest.found.all()):
                height = (loss(logits).abs() + 2.0 * rounding(logits)).to(x.dtype) + grain(gradient, threat.box)
                # By gamma at least, or what the box cuts off would let it creep up to the boundary without ever crossing.
                reach = torch.maximum(grown, length(point - x, norm) + _away(point, gradient, height, norm, threat.box))
                grown = torch.where(nearest.found, grown, reach)
            eps = torch.minimum(torch.where(adversarial, shrunk, grown), farthest).clamp_min(0.0)
            step = BALLS["l2"].steepest_step(gradient, point, threat.box).mul_(alpha)
            step.add_(point)
            if norm == "l2":  # onto the sphere, outwards as well
                scale = eps / length(step.sub_(x), norm).clamp_min(torch.finfo(x.dtype).tiny)
                point = step.mul_(columns(scale, x)).add_(x).clamp_(low, high)
            else:
                point = threat.project(step, x, eps)
        nearest.note(point, oracle.logits(point))
        if norm == "l0":
            nearest.turn(self.search)
        return nearest.point


def _away(point: Tensor, gradient: Tensor, height: Tensor, norm: Norm, box: Box) -> Tensor:
    """(n,) how far the linearised boundary is; for L0, how many features it takes to reach it in the box."""
    if norm == "l0":
        return length(step_to_plane(point, gradient, height, norm, box), norm)
    return height / length(gradient, DUAL[norm]).clamp_min(torch.finfo(point.dtype).tiny)
