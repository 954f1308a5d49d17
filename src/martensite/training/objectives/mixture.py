"""The mean of clean and adversarial cross-entropy: what most objectives measure.

Goodfellow, Shlens and Szegedy 2015, "Explaining and harnessing adversarial examples", arXiv:1412.6572, sec. 6, whose alpha is the
clean share.
"""

import torch
from pydantic import Field
from torch import Tensor

from martensite.training.context import Context
from martensite.training.objective import LossParts, Objective, Passes


class Mixture(Objective):
    """Base of the objectives that differ in how they make adversarials, and in nothing else.

    Args:
        mix: Share of the clean loss, in [0, 1).
    """

    mix: float = Field(default=0.0, ge=0.0, lt=1.0)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """mix * ce(f(x), y) + (1 - mix) * ce(f(x'), y)."""
        if self.mix == 0.0:
            logits = context.logits(adversarial)
            hard = context.criterion(logits, y)
            return LossParts(hard, {"adversarial": hard.detach(), "error": error(logits, y)})
        # One pass over both halves: batch statistics, where there are any, see clean and adversarial inputs together.
        clean_logits, logits = context.logits(torch.cat([x, adversarial])).chunk(2)
        clean, hard = context.criterion(clean_logits, y), context.criterion(logits, y)
        total = self.mix * clean + (1.0 - self.mix) * hard
        return LossParts(total, {"clean": clean.detach(), "adversarial": hard.detach(), "error": error(logits, y)})

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        passes = n if self.mix == 0.0 else 2 * n
        return passes, passes


def error(logits: Tensor, y: Tensor) -> Tensor:
    """Share of the samples that the logits (n, K) misclassify."""
    return (logits.detach().argmax(1) != y).float().mean()
