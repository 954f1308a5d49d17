"""Kolmogorov-Smirnov, feature by feature: the largest distance between two empirical distribution functions.

The p-value is that of Kolmogorov's limit at n m / (n + m) samples. Of many features it is Bonferroni's, which is Holm's for the
question whether any has drifted (Rabanser, Guennemann and Lipton 2019, "Failing loudly", arXiv:1810.11953, sec. 3.2).
"""

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov

Floats = npt.NDArray[np.floating]


def ks(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Statistic and p-value of each feature.

    Args:
        reference: (n, p) each column rising.
        window: (m, p) in any order.

    Returns:
        (p,) largest distances, and (p,) p-values, not corrected.
    """
    n, m = len(reference), len(window)
    window = np.sort(window, axis=0)
    distances = np.empty(reference.shape[1])
    place_n, place_m = np.arange(1, n + 1) / n, np.arange(1, m + 1) / m
    for column, (one, other) in enumerate(zip(reference.T, window.T, strict=True)):
        # Among equal values only the last one's distribution function is a value of it.
        at_one = np.abs(place_n[one.searchsorted(one, "right") - 1] - other.searchsorted(one, "right") / m).max()
        at_other = np.abs(place_m[other.searchsorted(other, "right") - 1] - one.searchsorted(other, "right") / n).max()
        distances[column] = max(at_one, at_other)
    return distances, kolmogorov(np.sqrt(n * m / (n + m)) * distances)


def any_feature(p: Floats) -> float:
    """The p-value of "no feature has drifted"."""
    return float(min(1.0, p.min() * len(p)))
