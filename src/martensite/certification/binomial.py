"""The binomial distribution, rounded outward: numbers that are certainly no smaller than the true probabilities.

A certificate's error rate is promised in real arithmetic, so that no rounding may make it look smaller than it is. What follows
trusts no special function: it uses the four operations, whose rounding is known.

Let w(f) = P(f) / P(m) for Bin(n, q), m its mode. Then w(m) = 1 and w(f + 1) / w(f) = (n - f) / (f + 1) * q / (1 - q). Computed
in float64, a ratio is off by a factor within (1 + u)^5, u = 2^-53, so that w(m + j) and w(m - j) are off by at most
(1 + u)^(6 j). Dividing by the sum over a window, which is less than the sum over all f, gives upper bounds on every P(f). Outside
the window the ratios only fall further below 1, so that a geometric series bounds what is left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-53
NEGLIGIBLE = 1e-25  # of the mode; what lies outside is not forgotten, but counted as `Window.outside`


@dataclass(frozen=True)
class Window:
    """Upper bounds on probabilities of first, first + 1, ...

    Attributes:
        first: Where it begins.
        mass: (m,) float64 upper bounds.
        outside: Upper bound on the probability of everything outside the window.
    """

    first: int
    mass: NDArray[np.float64]
    outside: float


def slack(terms: int) -> float:
    """A factor that covers the rounding of a sum of this many positive products."""
    return 1.0 + 2.0 * (terms + 8) * UNIT


def binomial(n: int, q: float) -> Window:
    """Upper bounds on Bin(n, q), n >= 1, 0 < q < 1."""
    odds, mode = q / (1.0 - q), min(n, int((n + 1) * q))
    reach = int(12.0 * (n * q * (1.0 - q)) ** 0.5) + 60
    up = np.arange(mode, min(n, mode + reach), dtype=np.float64)
    down = np.arange(mode, max(0, mode - reach), -1, dtype=np.float64)
    above = np.cumprod((n - up) / (up + 1.0) * odds)
    below = np.cumprod(down / (n - down + 1.0) / odds)
    above, below = above[above >= NEGLIGIBLE], below[below >= NEGLIGIBLE]  # they fall, so that this cuts the far end
    weights = np.concatenate([below[::-1], [1.0], above])
    first, last = mode - len(below), mode + len(above)
    error = 1.0 + 16.0 * (len(weights) + 8) * UNIT  # over (1 + u)^(6 j), twice, and the sum
    beyond = _geometric(weights[-1], (n - last) / (last + 1.0) * odds) + _geometric(weights[0], first / (n - first + 1.0) / odds)
    total = float(weights.sum())
    return Window(first, weights / total * error, beyond / total * error)


def convolve(mass: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper bounds on the distribution of a sum of independent counts, from upper bounds on theirs; term by term, not by FFT."""
    found: NDArray[np.float64] = np.convolve(mass, step) * slack(min(len(mass), len(step)))
    return found


def _geometric(edge: float, ratio: float) -> float:
    """Bound on all weights beyond an edge from which they fall at least by ``ratio``."""
    return 0.0 if ratio <= 0.0 else edge * ratio / (1.0 - ratio) if ratio < 1.0 else np.inf
