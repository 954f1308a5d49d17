"""Shift of predictions and of labels.

Pearson's chi-squared on two samples of predicted classes; and, if only the labels' shares changed and not what a class looks
like, how these changed, by the confusion of the reference: Lipton, Wang and Smola 2018, "Detecting and correcting for label
shift with black box predictors", arXiv:1802.03916, eq. 4.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

LEAST = 5.0  # samples that a class must be expected to have, or rare classes are taken together


def chi_squared(reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Statistic and p-value of "both are drawn from the same classes".

    Args:
        reference: (K,) counts.
        window: (K,) counts.
    """
    n, m = int(reference.sum()), int(window.sum())
    both = np.stack([reference, window]).astype(np.float64)
    # Chosen by the sum of both, which says nothing about their difference.
    expected = both.sum(0) * min(n, m) / (n + m)
    rare = expected < LEAST
    if rare.any():
        joined = both[:, rare].sum(1, keepdims=True)
        if joined.sum() * min(n, m) / (n + m) < LEAST and (~rare).any():
            smallest = int(np.where(rare, np.inf, expected).argmin())
            both[:, smallest] += joined[:, 0]
            both = both[:, ~rare]
        else:
            both = np.hstack([both[:, ~rare], joined])
    if both.shape[1] < 2:
        return 0.0, 1.0
    shares = both.sum(0) / (n + m)
    statistic = float(
        sum((np.square(row - size * shares) / (size * shares)).sum() for row, size in zip(both, (n, m), strict=True))
    )
    return statistic, float(chi2.sf(statistic, both.shape[1] - 1))


def label_shares(confusion: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
    """(K,) estimated shares of the labels behind predictions; None where the confusion can't be inverted.

    Args:
        confusion: (K, K) counts of the reference: predicted class by row, label by column.
        predicted: (K,) counts of predictions.
    """
    joint = confusion / confusion.sum()
    try:
        if np.linalg.cond(joint) > 1e6:
            return None
        weights = np.linalg.solve(joint, predicted / predicted.sum()).clip(0.0)
    except np.linalg.LinAlgError:
        return None
    shares = weights * joint.sum(0)
    return shares / shares.sum() if shares.sum() > 0 else None


def largest_change(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> int:
    """The class whose share changed most."""
    return int(np.abs(after / max(after.sum(), 1e-12) - before / max(before.sum(), 1e-12)).argmax())
