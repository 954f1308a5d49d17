"""Expected calibration error: how far confidence is from accuracy.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 5 (M bins of equal width).
"""

import torch
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import DataError

BINS = 15


class Calibration(Config):
    """Expected calibration errors.

    Attributes:
        clean: Without an attack.
        attacked: At the adversarials, or at the last attempts where there is none; None of a model that is only queried: asking
            would cost queries.
        bins: Of confidence.
    """

    clean: float
    attacked: float | None = None
    bins: int = BINS


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Sum over the bins of (share of the samples) * |accuracy - mean confidence|, in [0, 1].

    Args:
        confidence: (n,) the probability of the predicted class, in [0, 1].
        correct: (n,) bool: whether that class is right.
        bins: Of equal width, closed at their upper ends.

    Raises:
        DataError: no samples, or confidences outside [0, 1].
    """
    sure = confidence.double()
    if not len(sure) or bool(((sure < 0) | (sure > 1) | sure.isnan()).any()):
        raise DataError(f"confidences of {len(sure)} samples", "at least one is needed, all in [0, 1]", "give softmax outputs")
    place = (sure * bins).ceil().long().clamp(min=1) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, place, correct.double() - sure)
    return float(gap.abs().sum() / len(sure))
