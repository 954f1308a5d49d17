"""Divergence: the loss or the logits are no numbers any more, or the model is no better than chance and stays so."""

from collections.abc import Sequence
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from martensite.training.guards.guard import GUARDS, Figures, Guard


@GUARDS.register
class Divergence(Guard):
    """Objects at once to NaN and infinity, and after some checks to a model stuck at chance.

    Adversarial training from scratch may rest on a plateau at chance for an epoch or two (MNIST with eps 0.3 does), hence the
    patience.

    Args:
        patience: Checks in a row at chance.
        margin: How far above chance, in accuracy, still counts as chance.
    """

    kind: Literal["divergence"] = "divergence"
    patience: PositiveInt = 5
    margin: NonNegativeFloat = 0.02

    def complaint(self, trace: Sequence[Figures]) -> str:
        """See `Guard.complaint`."""
        now = trace[-1]
        if not now.finite:
            return "training diverged: the loss or the logits are no finite numbers"
        last = trace[-self.patience :]
        if len(last) == self.patience and all(figures.clean <= figures.chance + self.margin for figures in last):
            return f"clean accuracy {now.clean:.3f} has been at chance ({now.chance:.3f}) for {self.patience} checks"
        return ""
