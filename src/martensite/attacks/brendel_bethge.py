"""Brendel-Bethge: follow the decision boundary towards the clean input, one step in a trust region at a time.

Brendel, Rauber, Kuemmerer, Ustyuzhaninov and Bethge 2019, "Accurate, reliable and fast robustness evaluation", arXiv:1907.01003,
sec. 3. For the steps see `trust_region`.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.decisions import Decisions
from martensite.attacks.deepfool import cross
from martensite.attacks.linear import grain, length, rivals, rounding
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.attacks.trust_region import step_along
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

START_STEPS, START_OVERSHOOT = 50, 0.02  # of the DeepFool that finds the start
HALVINGS = 10  # of the trust region, in all


@ATTACKS.register
class BrendelBethge(Attack):
    """Brendel and Bethge's attack. It starts where DeepFool ends or, where that fails, at random inputs.

    Args:
        steps: Gradient steps.
        radius: First L2 length of a step, in distances of the start; halved ten times.
        overshoot: How far a step goes, in ways to the boundary; above 1 to cross it.
        momentum: Weight of the earlier steps' normals against the present one's.
        starts: Random inputs that are tried where DeepFool finds nothing.
        top: Classes that DeepFool considers, by the clean logits.
        search: Forward passes of a search along the line to the clean input, at the start and at the end.
    """

    kind: Literal["brendel_bethge"] = "brendel_bethge"
    steps: PositiveInt = 200
    radius: PositiveFloat = 3.0
    overshoot: float = Field(default=1.1, ge=1.0, le=2.0)
    momentum: float = Field(default=0.8, ge=0.0, lt=1.0)
    starts: PositiveInt = 100
    top: int = Field(default=3, ge=2)
    search: int = Field(default=8, ge=1)

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1", "l0")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' <- x' + delta, with delta the solution of eq. 1."""
        nearest = self._start(oracle, x, y, threat, rng)
        rows = nearest.found.nonzero().squeeze(1)
        point, normal = nearest.point[rows], torch.zeros_like(x[rows])
        first = self.radius * length(point - x[rows], "l2")
        every = max(self.steps // HALVINGS, 1)
        for k in range(self.steps):
            loss = ascend("margin", y[rows], threat.goal)
            logits, gradient = oracle.gradient(point, loss, rows)
            nearest.note(point, logits, rows)
            normal = gradient if k == 0 else torch.lerp(gradient, normal, self.momentum)
            gap = (loss(logits) - 2.0 * rounding(logits)).to(x.dtype) - grain(gradient, threat.box)
            height = torch.where(gap < 0, -self.overshoot, self.overshoot - 2.0) * gap
            radius = first * 0.5 ** (k // every)
            step = step_along(x[rows], point, normal, height, radius, threat.norm, threat.box)
            point = (point + step).clamp_(*threat.box)
        if len(rows):
            nearest.note(point, oracle.logits(point, rows), rows)
        if threat.norm == "l0":
            nearest.turn(self.search)
        else:
            nearest.approach(self.search)
        return nearest.point

    def _start(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Nearest:
        """Adversarials next to the boundary."""
        nearest = Nearest(oracle, x, y, threat)
        classes = rivals(nearest.clean(), y, self.top) if threat.goal == "untargeted" else None
        euclidean = threat if threat.norm in ("l2", "linf") else ThreatModel(norm="l2", eps=1.0, box=threat.box, goal=threat.goal)
        everyone = torch.arange(len(x), device=x.device)
        cross(oracle, nearest, x, everyone, y, classes, euclidean, START_STEPS, START_OVERSHOOT)
        if bool((~nearest.found).any()):
            search = Decisions(oracle, x, y, threat, self.starts)
            search.left[nearest.found] = 0
            search.start(rng, self.starts)
            oracle.found = nearest.point
            if len(rows := search.distance.isfinite().nonzero().squeeze(1)):
                nearest.note(search.point[rows], oracle.logits(search.point[rows], rows), rows)
        nearest.approach(self.search)
        return nearest
