"""Whether a gradient leads anywhere: one that is zero is of a masked model, and so is one that is only noise next to the loss."""

from torch import Tensor

TINY = 1e-6  # of the loss: what float32 no longer tells apart


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
