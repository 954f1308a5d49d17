"""PGD adversarial training: descend on the loss where the adversary has pushed it up.

Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, eq. 2.1.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes, times
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class PGDAT(Mixture):
    """Half clean, half adversarial by default.

    Args:
        mix: Share of the clean loss, in [0, 1); 0 is Madry's.
        attack: What makes the adversarials; any bounded attack.
        attacked: Share of the batch that is attacked, in (0, 1]; the rest stands unharmed among the adversarials. At least one
            sample is attacked.
    """

    kind: Literal["pgd_at"] = "pgd_at"
    mix: float = Field(default=0.5, ge=0.0, lt=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)
    attacked: float = Field(default=1.0, gt=0.0, le=1.0)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The attack's, for the first samples of the batch: the order is random in each epoch."""
        k = self._count(len(x))
        if k == len(x):
            return context.attack(self.attack, x, y)
        return torch.cat([context.attack(self.attack, x[:k], y[:k], part=slice(k)), x[k:]])

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(self._count(n), self.attack.passes)

    def _count(self, n: int) -> int:
        return max(1, round(self.attacked * n))
