"""CROWN-IBP: training by CROWN's bounds over intervals, and by intervals in the end.

Zhang et al. 2020, "Towards stable and efficient training of verifiably robust neural networks", arXiv:1906.06316, eq. 14. It
needs a `ramp` of eps, as `ibp` does.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts
from martensite.training.objectives.ibp import IBP, mixed


@OBJECTIVES.register
class CrownIBP(IBP):
    """As `IBP`, with CROWN's tighter bounds at first, while they guide better, and intervals', which end better, in the end.

    Args:
        kappa: As for `IBP`.
        beta: Share of CROWN's bound once eps is at its full size, in [0, 1); it falls from 1 as the ramp lets eps grow.
    """

    kind: Literal["crown_ibp"] = "crown_ibp"  # type: ignore[assignment]
    beta: float = Field(default=0.0, ge=0.0, lt=1.0)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The mixture; see the class."""
        return mixed(context, x, y, self.kappa, 1.0 - (1.0 - self.beta) * context.strength)
