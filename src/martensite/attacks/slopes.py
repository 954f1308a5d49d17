"""Whether gradients lead anywhere: one that is zero is of a masked model, and so is one that is only noise next to the loss."""

import torch
from torch import Tensor

from martensite.attacks.finite import mended

TINY = 1e-6  # of the loss: what float32 no longer tells apart


class Slopes:
    """What a run's gradients are like.

    Attributes:
        flat: Samples whose first gradient in a batch was zero, or next to it: see `flat_gradients`.
        seen: Samples whose first gradient in a batch was looked at.
        odd: Gradients, one a sample and pass, that held NaN or infinities: see `finite.mended`.
        fresh: Whether the batch's first gradient is still to come.
    """

    def __init__(self) -> None:
        self.flat = self.seen = self.odd = 0
        self.begin(torch.zeros(0))

    def begin(self, x: Tensor) -> None:
        """Take up a batch of clean inputs x (n, *d)."""
        self._clean, self.fresh = x, len(x) > 0

    def mend(self, gradient: Tensor) -> Tensor:
        """The gradient (n, *d) in finite numbers."""
        gradient, odd = mended(gradient)
        self.odd += odd
        return gradient

    def look(self, gradient: Tensor, loss: Tensor) -> None:
        """Note which of the batch's first gradients (n, *d), of losses (n,), lead nowhere."""
        self.fresh = False
        first = slice(len(self._clean))  # of turns side by side, those of the first
        self.flat += flat_gradients(gradient[first], loss[first], self._clean)
        self.seen += len(gradient[first])


def flat_gradients(gradient: Tensor, loss: Tensor, x: Tensor) -> int:
    """How many samples' losses would not change by a millionth of themselves, if every feature moved as far as inputs differ.

    To first order, that is: sum |g_i| * (max x - min x) <= 1e-6 |loss|. A model that is merely sure of itself has a small loss,
    and a gradient to match.

    Args:
        gradient: (n, *d) of the loss.
        loss: (n,) at the same points.
        x: (m, *d) inputs, for their range.
    """
    reach = gradient.flatten(1).abs().sum(1, dtype=loss.dtype) * float(x.amax() - x.amin())
    return int((reach <= TINY * loss.abs()).sum())
