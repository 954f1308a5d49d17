"""Maximum mean discrepancy of embeddings, by a statistic whose distribution is known and that needs no permutations.

Shekhar, Kim and Ramdas 2022, "A permutation-free kernel two-sample test", arXiv:2211.14908, sec. 2 (cross-MMD): one half of
each sample gives the witness function f = mean k(x, .) - mean k(y, .), the other halves its means, whose difference is
studentised. A level of any smallness has a threshold then; a permutation test would need as many permutations as its inverse.
Given the first halves it is a comparison of two means, so its p-value is Welch's (1947, "The generalization of 'Student's'
problem", Biometrika 34): the normal limit rings too often in the far tail, where the levels of later windows lie.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Floats = npt.NDArray[np.floating]


def bandwidth(x: Floats) -> float:
    """The median distance between two of (n, f) points (Gretton et al. 2012, "A kernel two-sample test", sec. 8)."""
    squares = _squares(x, x)[np.triu_indices(len(x), 1)]
    return float(np.sqrt(max(float(np.median(squares)), 1e-12))) if len(squares) else 1.0


def cross_mmd(x: Floats, y: Floats, width: float) -> tuple[float, float]:
    """The studentised statistic and its p-value.

    Args:
        x: (n, f) reference, in random order, n >= 4.
        y: (m, f) window, likewise.
        width: sigma of the kernel exp(-|a - b|^2 / (2 sigma^2)).
    """
    x1, x2, y1, y2 = x[: len(x) // 2], x[len(x) // 2 :], y[: len(y) // 2], y[len(y) // 2 :]
    on_x = _kernel(x2, x1, width).mean(1) - _kernel(x2, y1, width).mean(1)
    on_y = _kernel(y2, x1, width).mean(1) - _kernel(y2, y1, width).mean(1)
    parts = np.array([on_x.var(ddof=1) / len(x2), on_y.var(ddof=1) / len(y2)]).clip(1e-24)
    statistic = float(on_x.mean() - on_y.mean()) / float(np.sqrt(parts.sum()))
    freedom = parts.sum() ** 2 / (np.square(parts) / [len(x2) - 1, len(y2) - 1]).sum()
    return statistic, float(stdtr(freedom, -statistic))


def squared_mmd(x: Floats, y: Floats, width: float) -> float:
    """The unbiased estimate of MMD^2 (Gretton et al. 2012, eq. 3), for whoever wants to know how large a drift is."""
    n, m = len(x), len(y)
    within_x = (_kernel(x, x, width).sum() - n) / (n * (n - 1))
    within_y = (_kernel(y, y, width).sum() - m) / (m * (m - 1))
    return float(within_x + within_y - 2.0 * _kernel(x, y, width).mean())


def _kernel(a: Floats, b: Floats, width: float) -> Floats:
    return np.exp(_squares(a, b) / (-2.0 * width * width))  # type: ignore[no-any-return]


def _squares(a: Floats, b: Floats) -> Floats:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :] - 2.0 * a @ b.T).clip(0.0)  # type: ignore[no-any-return]
