"""Divergence: the loss or the logits are no numbers any more, or the model is no better than chance and stays so."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from martensite.training.guards.guard import GUARDS, Figures, Guard


@GUARDS.register
class Divergence(Guard):
    """Objects at once to NaN and infinity, and after some checks to a model stuck at chance.

    Adversarial training from scratch may rest on a plateau at chance for an epoch or two (MNIST with eps 0.3 does), and where an
    epoch is a batch or two, many pass before anything can have been learnt: hence the patience.

    Args:
        patience: Checks in a row at chance.
        updates: Batches from the first to the last of them.
        margin: How far above chance still counts as chance, as a share of the way from there to 1.
    """

    kind: Literal["divergence"] = "divergence"
    patience: PositiveInt = 5
    updates: NonNegativeInt = 50
    margin: NonNegativeFloat = 0.02

    def complaint(self, trace: Sequence[Figures]) -> str:
        """See `Guard.complaint`."""
        now = trace[-1]
        if not now.finite:
            return "training diverged: the loss or the logits are no finite numbers"
        stuck = list(takewhile(self._at_chance, reversed(trace)))
        if len(stuck) < self.patience or now.update - stuck[-1].update < self.updates:
            return ""
        return f"clean accuracy {now.clean:.3f} has been at chance ({now.chance:.3f}) for {len(stuck)} checks"

    def doubts(self, trace: Sequence[Figures]) -> bool:
        """See `Guard.doubts`: a state on the plateau is no way off it."""
        return self._at_chance(trace[-1])

    def _at_chance(self, figures: Figures) -> bool:
        return figures.clean <= figures.chance + self.margin * (1.0 - figures.chance)
