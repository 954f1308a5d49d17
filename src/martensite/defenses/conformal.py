"""Conformal p-values: how many of the held-out clean samples look at least as suspicious as this one.

Vovk, Gammerman and Shafer 2005, "Algorithmic learning in a random world", sec. 2.2; for outliers Bates et al. 2023, "Testing for
outliers with conformal p-values", arXiv:2104.08279, eq. 2. If a clean input is exchangeable with the n held-out ones, then
P(p <= alpha) <= floor(alpha (n + 1)) / (n + 1) <= alpha, over the draw of both, whatever the score is.
"""

import math

import torch
from torch import Tensor

from martensite.core.errors import ConfigError, DataError


def p_values(clean: Tensor, score: Tensor) -> Tensor:
    """(m,) float64: (1 + number of clean scores that are at least as large) / (n + 1).

    Args:
        clean: (n,) float64 scores of held-out clean samples, rising.
        score: (m,) scores; larger is more suspicious.
    """
    below = torch.searchsorted(clean, score.detach().to(clean).contiguous(), side="left")
    return (len(clean) + 1 - below).double() / (len(clean) + 1)


def threshold(clean: Tensor, alpha: float) -> float:
    """The score above which, and only above which, p <= alpha.

    Args:
        clean: As in `p_values`.
        alpha: In (0, 1).

    Raises:
        ConfigError: so few samples that no score can have such a p-value.
    """
    rank = math.floor(alpha * (len(clean) + 1) * (1 + 1e-12))  # so many clean scores and the new one may lie above
    if rank < 1:
        raise ConfigError(
            f"{len(clean)} clean samples calibrate to a false-alarm rate of {alpha:g}",
            f"with so few no p-value is below {1 / (len(clean) + 1):.3g}: the alarm could never ring",
            f"give at least {needed(alpha)} clean samples, or allow more false alarms",
        )
    return float(clean[len(clean) - rank])


def needed(alpha: float) -> int:
    """The least number of clean samples with which a p-value of alpha is possible."""
    n = max(1, math.ceil(1 / alpha) - 1)
    return n if math.floor(alpha * (n + 1) * (1 + 1e-12)) >= 1 else n + 1


def sorted_scores(score: Tensor) -> Tensor:
    """Scores (n,) as `p_values` wants the clean ones.

    Raises:
        DataError: none, or one that isn't finite.
    """
    if score.dim() != 1 or not len(score) or not bool(score.isfinite().all()):
        bad = int((~score.isfinite()).sum())
        raise DataError(
            f"{len(score)} clean scores, {bad} of them not finite", "calibration needs finite scores", "check inputs and weights"
        )
    return score.detach().double().sort().values.cpu()
