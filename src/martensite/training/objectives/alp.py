"""Adversarial logit pairing: clean and adversarial logits are pulled together.

Kannan, Kurakin and Goodfellow 2018, "Adversarial logit pairing", arXiv:1803.06373, eq. 1. Its claim on ImageNet did not hold:
Engstrom, Ilyas and Athalye 2018, arXiv:1807.10272, broke it with more steps of PGD: pairing bends the loss surface against short
attacks. It is here for comparison; judge what it trains by AutoAttack or long PGD, never by the attack in training.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn.functional import mse_loss

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error


@OBJECTIVES.register
class ALP(Objective):
    """Clean and adversarial cross-entropy, plus the mean squared difference of the logits.

    Args:
        mix: Share of the clean loss, in [0, 1).
        weight: Of the pairing, lambda in the paper.
        attack: What makes the adversarials; any bounded attack.
    """

    kind: Literal["alp"] = "alp"
    mix: float = Field(default=0.5, ge=0.0, lt=1.0)
    weight: NonNegativeFloat = 0.5
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """argmax ce(f(x'), y) in the ball."""
        return context.attack(self.attack, x, y)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """mix * ce(f(x), y) + (1 - mix) * ce(f(x'), y) + weight * mean (f(x) - f(x'))^2."""
        clean_logits, hard_logits = context.logits(torch.cat([x, adversarial])).chunk(2)
        clean, hard = context.criterion(clean_logits, y), context.criterion(hard_logits, y)
        pairing = mse_loss(clean_logits, hard_logits)
        parts = {"clean": clean, "adversarial": hard, "pairing": pairing}
        total = self.mix * clean + (1.0 - self.mix) * hard + self.weight * pairing
        return LossParts(total, {**{name: part.detach() for name, part in parts.items()}, "error": error(hard_logits, y)})

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(n, self.attack.passes)

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return 2 * n, 2 * n
