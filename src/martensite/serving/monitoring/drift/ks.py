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
    # Between two values of the window its distribution function is constant and the other one rises: the largest distance is at
    # one of them, or just before it.
    for column, (one, other) in enumerate(zip(reference.T, window.T, strict=True)):
        before = one.searchsorted(other, "left") / n - other.searchsorted(other, "left") / m
        at = one.searchsorted(other, "right") / n - other.searchsorted(other, "right") / m
        distances[column] = max(np.abs(before).max(), np.abs(at).max())
    return distances, kolmogorov(np.sqrt(n * m / (n + m)) * distances)


def any_feature(p: Floats) -> float:
    """The p-value of "no feature has drifted"."""
    return float(min(1.0, p.min() * len(p)))
