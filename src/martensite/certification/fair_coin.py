"""The exact test of a fair coin: whether one side came up too often, in either direction."""

import numpy as np
import numpy.typing as npt
from scipy.special import betainc


def two_sided(more: npt.ArrayLike, fewer: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The p-values (n,) of counts (n,) of either side, ``more`` being the larger.

    At p = 1/2 the distribution is symmetric: twice the tail from the larger count on, which overlaps itself if they are equal.
    """
    more, fewer = np.asarray(more), np.asarray(fewer)
    tail: npt.NDArray[np.float64] = np.minimum(1.0, 2.0 * betainc(np.maximum(more, 1), fewer + 1, 0.5))
    return np.where(more > fewer, tail, 1.0)
