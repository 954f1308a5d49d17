"""PGD adversarial training: descend on the loss where the adversary has pushed it up.

Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, eq. 2.1. The share of clean
loss follows Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, sec. 6.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective


@OBJECTIVES.register
class PGDAT(Objective):
    """Half clean, half adversarial by default.

    Args:
        mix: Share of the clean loss, in [0, 1); 0 is Madry's.
        attack: What makes the adversarials; any bounded attack.
    """

    kind: Literal["pgd_at"] = "pgd_at"
    mix: float = Field(default=0.5, ge=0.0, lt=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """mix * ce(f(x), y) + (1 - mix) * ce(f(x'), y)."""
        adversarial = context.attack(self.attack, x, y)
        if self.mix == 0.0:
            hard = context.criterion(context.logits(adversarial), y)
            return LossParts(hard, {"adversarial": hard.detach()})
        # One pass over both halves: batch statistics, where there are any, see clean and adversarial inputs together.
        clean_logits, hard_logits = context.logits(torch.cat([x, adversarial])).chunk(2)
        clean, hard = context.criterion(clean_logits, y), context.criterion(hard_logits, y)
        total = self.mix * clean + (1.0 - self.mix) * hard
        return LossParts(total, {"clean": clean.detach(), "adversarial": hard.detach()})
