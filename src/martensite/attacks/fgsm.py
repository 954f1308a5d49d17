"""FGSM: one step of eps along the sign of the gradient.

Goodfellow, Shlens and Szegedy 2015, "Explaining and harnessing adversarial examples", arXiv:1412.6572, sec. 4.
"""

from typing import ClassVar, Literal

from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class FGSM(Attack):
    """The fast gradient sign method.

    Args:
        loss: What to climb.
    """

    kind: Literal["fgsm"] = "fgsm"
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)

    @property
    def passes(self) -> tuple[int, int]:
        """See `Attack.passes`."""
        return 1, 1

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' = clip(x + eps * sign(grad loss(x, y)))."""
        _, gradient = oracle.gradient(x, ascend(self.loss, y, threat.goal))
        return threat.project(x + threat.eps * threat.steepest_step(gradient, x), x)
