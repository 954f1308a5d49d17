"""JSMA: change the few features that the forward derivative of the class probabilities calls most salient, one pair at a time.

Papernot, McDaniel, Jha, Fredrikson, Celik and Swami 2016, "The limitations of deep learning in adversarial settings",
arXiv:1511.07528, algorithm 3; untargeted goals and features that move either way as in Wiyatno and Xu 2018, "Maximal
Jacobian-based saliency map attack", arXiv:1808.07945.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class JSMA(Attack):
    """Jacobian-based saliency map attack, with one gradient a step.

    Probabilities F sum to one, so the derivatives of all other classes' sum to minus that of the target's, and the pair that
    maximises the paper's eq. 8 is that of the two largest entries of grad F_t, which has the direction of grad log F_t.

    Args:
        theta: By how much a feature moves, in widths of the box; one that met the box's wall stays there.
        gamma: Share of the features that may change; the paper's 0.145 is meant for MNIST.
        features: How many move in a step.
        sign: ``"increase"`` is the paper's; ``"both"`` lets the derivative decide.
    """

    kind: Literal["jsma"] = "jsma"
    theta: float = Field(default=1.0, gt=0.0, le=1.0)
    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    features: PositiveInt = 2
    sign: Literal["increase", "decrease", "both"] = "both"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l0",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Move the most salient features until the goal is reached; then take back what the last step did not need."""
        nearest, rows, point, clean = Nearest(oracle, x, y, threat), torch.arange(len(x), device=x.device), x, x.flatten(1)
        low, high = threat.box
        count = min(self.features, clean.shape[1])
        for _ in range(math.ceil(self.gamma * clean.shape[1] / (count * self.theta))):
            _, gradient = oracle.gradient(point, ascend("odds", y[rows], threat.goal), rows)
            flat, start = point.flatten(1), clean[rows]
            way = gradient.flatten(1).sign()
            if self.sign != "both":
                way = torch.where(way == (1.0 if self.sign == "increase" else -1.0), way, torch.zeros_like(way))
            stuck = (flat != start) & ((flat <= low) | (flat >= high))
            moved = (flat + self.theta * (high - low) * way).clamp_(low, high).where(~stuck, flat)
            saliency = gradient.flatten(1).abs() * (moved - flat).abs()
            gain, chosen = saliency.topk(count, dim=1)
            taken = flat.scatter(1, chosen, moved.gather(1, chosen))
            done = nearest.note(taken.view_as(point), oracle.logits(taken.view_as(point), rows), rows)
            for few in range(1, count):  # the last step may have taken more than it needed
                step = flat.scatter(1, chosen[:, :few], moved.gather(1, chosen[:, :few]))
                fewer = step.view_as(point)[done]
                if len(fewer):
                    nearest.note(fewer, oracle.logits(fewer, rows[done]), rows[done])
            full = ((taken != start).sum(1) + count) > self.gamma * clean.shape[1]
            still = ~done & ~full & (gain[:, 0] > 0)
            rows, point = rows[still], taken.view_as(point)[still]
            if not len(rows):
                break
        return nearest.point
