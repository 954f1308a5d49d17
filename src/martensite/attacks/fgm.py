"""FGM: one step of eps along the gradient, for L2 and L1.

Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, sec. 4, in the norms of Miyato, Dai and Goodfellow 2017, arXiv:1605.07725,
eq. 5. For L1 the step that maximises the linearised loss inside ball and box is taken exactly.
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
class FGM(Attack):
    """The fast gradient method.

    Args:
        loss: What to climb.
    """

    kind: Literal["fgm"] = "fgm"
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "l1")

    @property
    def passes(self) -> tuple[int, int]:
        """See `Attack.passes`."""
        return 1, 1

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' = project(x + eps * s), s the unit step along which the linearised loss rises most inside the box."""
        _, gradient = oracle.gradient(x, ascend(self.loss, y, threat.goal))
        return threat.project(x + threat.eps * threat.steepest_step(gradient, x, threat.eps), x)
