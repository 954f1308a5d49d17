"""FGM: one step of eps along the gradient, for L2 and L1.

Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, sec. 4, in the norms of Miyato, Dai and Goodfellow 2017, arXiv:1605.07725,
eq. 5. For L1 the step that maximises the linearised loss inside ball and box is taken exactly.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class FGM(Attack):
    """The fast gradient method.

    Args:
        loss: What to climb.
    """

    kind: Literal["fgm"] = "fgm"
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' = project(x + eps * g / |g|) in L2; in L1 the features of largest |g| go to the wall until eps is spent."""
        _, gradient = oracle.gradient(x, ascend(self.loss, y, threat.goal))
        if threat.norm == "l1":
            return threat.project(x + _greedy(gradient, x, threat), x)
        return threat.project(x + threat.eps * threat.steepest_step(gradient, x), x)


def _greedy(gradient: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """The change of L1 length eps inside the box with the largest inner product with the gradient."""
    low, high = threat.box
    room = torch.where(gradient > 0, high - x, x - low).masked_fill(gradient == 0, 0.0).flatten(1).double()
    order = gradient.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    ranked = room.gather(1, order)
    before = ranked.cumsum(1) - ranked
    spent = torch.minimum(ranked, (threat.eps - before).clamp_min(0.0))
    length = torch.zeros_like(room).scatter_(1, order, spent)
    return (length * gradient.flatten(1).sign()).to(x.dtype).view_as(x)
