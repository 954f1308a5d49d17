"""SuperDeepFool: DeepFool, and then a projection that turns the perturbation towards the boundary's normal; over again.

Abdolahpourrostam, Abroshan and Moosavi-Dezfooli 2024, "Revisiting DeepFool: generalization and improvement",
arXiv:2303.12481, algorithm 2 with SDF(infinity, 1).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.deepfool import cross
from martensite.attacks.linear import rivals, step_to_plane
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

REMATCH = 2  # rivals that stay in play once the boundary has been met; more cost backward passes and bring nothing


@ATTACKS.register
class SuperDeepFool(Attack):
    """SuperDeepFool; a sample stops when a round brings nothing nearer.

    Args:
        steps: Rounds of DeepFool and projection at most.
        deepfool_steps: Steps of one DeepFool at most.
        overshoot: Of DeepFool.
        top: Classes that DeepFool considers, by the clean logits.
        search: Forward passes of the search along the line back to the clean input at the end.

    A targeted goal steps to the boundary between the target and the strongest other class.
    """

    kind: Literal["superdeepfool"] = "superdeepfool"
    steps: PositiveInt = 100
    deepfool_steps: PositiveInt = 100
    overshoot: NonNegativeFloat = 0.02
    top: int = Field(default=10, ge=2)
    search: NonNegativeInt = 8

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x <- DeepFool(x); x <- x_0 + (x - x_0) . w / |w|^2 w."""
        nearest = Nearest(oracle, x, y, threat)
        classes = rivals(nearest.clean(), y, self.top) if threat.goal == "untargeted" else None
        point, rows = x, torch.arange(len(x), device=x.device)
        for _ in range(self.steps):
            before = nearest.distance[rows]
            crossed, _ = cross(oracle, nearest, point, rows, y, classes, threat, self.deepfool_steps, self.overshoot)
            logits, w = oracle.gradient(crossed, ascend("margin", y[rows], threat.goal), rows)
            along = ((crossed - x[rows]) * w).flatten(1).sum(1)
            point = (x[rows] + step_to_plane(x[rows], w, along, "l2", threat.box)).clamp_(*threat.box)
            still = ~nearest.note(point, oracle.logits(point, rows), rows) & (nearest.distance[rows] < before)
            if classes is not None:
                classes = classes[:, :REMATCH].clone()
                classes[rows] = rivals(logits, y[rows], min(self.top, REMATCH + 1))
            point, rows = point[still], rows[still]
            if not len(rows):
                break
        nearest.approach(self.search)
        return nearest.point
