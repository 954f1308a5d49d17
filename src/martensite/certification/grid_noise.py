"""Gaussian noise on the grid of the inputs, for guarantees that survive floating point.

Randomized smoothing is proved for real numbers. In floating point x + noise rounds differently for each x, so that a network can
read traces of x off its noisy copies, and certificates can be plainly wrong: Voracek and Hein 2023, "Sound randomized smoothing
in floating-point arithmetic", ICLR, arXiv:2207.07209, whose remedy this is.

Let g round every coordinate to the nearest k / levels, and F be the network. The classifier that we smooth is F o g, to which
the theorem applies as to any other function: if it answers c with probability p under Gaussian noise at x, then it does with
probability over 1/2 at every real x' within the radius. For an x of the grid, g(x + e) = x + g(e), because rounding commutes with
shifts by whole steps; and g(e) has independent coordinates T / levels, T an integer with

    P(T = t) = Phi((t + 1/2) / (levels sigma)) - Phi((t - 1/2) / (levels sigma)).

So we draw integers T, add them to the integers of x without any rounding, and show the network one fixed float for each integer:
what it sees is a function of x + g(e) alone. Rounding survives in one place, the table of Phi by which a uniform 62-bit integer
becomes T. Its error is counted: the T drawn differ from true ones in total variation by at most `bias` a coordinate, hence any
event's probability by at most d times that, which is taken off p. What remains assumed is that the generator's bits are fair, and
that the network is a function: the same answer for the same floats, whatever else is in the batch.
"""

from functools import cache

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from martensite.core.errors import DataError

BITS, GUIDE = 62, 16
WIDEST = 9.0  # sigmas; what lies beyond is less than 1e-18
TABLE_ERROR = 2.0**-48  # of one entry of Phi, absolute: several times what ndtr and the rounding to 62 bits can amount to


class GridNoise:
    """Draws T, and knows how far from exact it is.

    Args:
        sigma: Standard deviation of the Gaussian, in input units.
        levels: The grid is k / levels.

    Attributes:
        bias: Bound on the total variation distance from the exact distribution, a coordinate.
    """

    def __init__(self, sigma: float, levels: int) -> None:
        self.levels, self.most = levels, int(WIDEST * sigma * levels) + 1
        edges = (np.arange(-self.most, self.most) + 0.5) / (levels * sigma)
        # As a share of 2^62, rounded to integers; in float64 the upper half has only 53 bits, which TABLE_ERROR covers.
        table = np.minimum(np.round(ndtr(edges) * 2.0**BITS), 2.0**BITS - 1).astype(np.int64)
        self._edges = torch.from_numpy(np.maximum.accumulate(table))
        # Most values follow from the first 16 bits: those whose whole range of 62-bit integers lies between two edges.
        starts = torch.arange(2**GUIDE, dtype=torch.int64) << (BITS - GUIDE)
        low = torch.bucketize(starts, self._edges, right=True)
        high = torch.bucketize(starts + ((1 << (BITS - GUIDE)) - 1), self._edges, right=True)
        self._guide = torch.where(low == high, low - self.most, self.most + 1).to(torch.int32)
        self.bias = 2 * self.most * TABLE_ERROR + 1e-18

    def integers(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """int32 independent T."""
        bits = torch.randint(0, 1 << BITS, shape, generator=rng, dtype=torch.int64)
        found = self._guide[bits >> (BITS - GUIDE)]
        unsettled = found > self.most
        rest = torch.bucketize(bits[unsettled], self._edges, right=True) - self.most
        found[unsettled] = rest.to(torch.int32)
        return found

    def noisy(self, x: Tensor, out: Tensor, rng: torch.Generator) -> None:
        """Fill ``out`` (n, *d) with noisy copies of x (*d), each of their values a function of an integer."""
        whole = (x.double() * self.levels).round().to(torch.int32)
        out.copy_(self.integers(tuple(out.shape), rng).add_(whole)).div_(self.levels)

    def check(self, x: Tensor) -> None:
        """Refuse inputs off the grid.

        Raises:
            DataError: a value that isn't k / levels, up to the rounding of float32.
        """
        steps = x.double() * self.levels
        off = ((steps - steps.round()).abs() > 1e-4).flatten(1).any(1)
        if bool(off.any()):
            raise DataError(
                f"{int(off.sum())} of {len(x)} inputs hold values that are no multiple of 1/{self.levels}",
                "quantised noise certifies inputs of its own grid",
                f"round them (x = (x * {self.levels}).round() / {self.levels}), give levels=, or leave quantised out",
            )


@cache
def grid_noise(sigma: float, levels: int) -> GridNoise:
    """The noise of these parameters; its table is made once."""
    return GridNoise(sigma, levels)
