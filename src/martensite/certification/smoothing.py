"""Randomized smoothing: the class that wins under Gaussian noise is certified within an L2 radius.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918, Theorem 1 and
the procedure CERTIFY of sec. 3.2.2. If the class wins with probability p_A and no other with more than p_B, then it wins
everywhere within sigma / 2 (Phi^-1(p_A) - Phi^-1(p_B)); with p_B = 1 - p_A that is sigma Phi^-1(p_A).
"""

from math import prod, sqrt
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from scipy.special import ndtr, ndtri
from torch import Tensor

from martensite.certification.certifier import CERTIFIERS
from martensite.certification.grid_noise import grid_noise
from martensite.certification.sampled import ROUNDED, Sampled

STEP, LAST = 0.25, 12  # the grid of radii, in sigmas: a longer one than 3 takes over ten thousand samples
SHORTER = 1e-12  # of sigma: more than the rounding of the quantile


@CERTIFIERS.register
class Smoothing(Sampled):
    """Gaussian smoothing.

    The guarantee is about the smoothed classifier (the majority class under noise), not about a single pass of the network, and
    the certificate of an input is wrong with probability at most ``alpha`` over its own noise.

    Args:
        sigma: Standard deviation of the noise, in input units.
        norm: Of the radii. A change of Linf size r has an L2 size of at most r sqrt(d), so that an Linf radius is the L2 radius
            by sqrt(d): short, for images.
        quantised: Draw the noise on the grid of the inputs, so that the guarantee holds in the computer's arithmetic too: see
            `grid_noise`. The inputs must lie on that grid.
        levels: The grid is k / levels; 255 for 8-bit images in [0, 1].
    """

    kind: Literal["smoothing"] = "smoothing"
    sigma: PositiveFloat
    norm: Literal["l2", "linf"] = "l2"
    quantised: bool = False
    levels: PositiveInt = 255

    def noisy(self, x: Tensor, out: Tensor, rng: torch.Generator) -> None:
        """x + sigma * noise."""
        if self.quantised:
            grid_noise(self.sigma, self.levels).noisy(x, out, rng)
        else:
            torch.add(x, out.normal_(generator=rng), alpha=self.sigma, out=out)

    def miss_rate(self, radius: float, shape: tuple[int, ...]) -> float:
        """1 - Phi(radius / sigma)."""
        return float(ndtr(-radius * self._per_unit(shape) / self.sigma)) * ROUNDED - self._bias(shape)

    def reach(self, miss: float, rival: float, shape: tuple[int, ...]) -> float:
        """sigma / 2 * (Phi^-1(1 - miss) - Phi^-1(rival))."""
        miss, rival = miss + self._bias(shape), rival + self._bias(shape)
        if not miss + rival < 1.0:
            return 0.0
        far = 0.5 * float(-ndtri(miss) - ndtri(rival)) - SHORTER
        return max(0.0, self.sigma * far / self._per_unit(shape))

    def radius(self, count: int, n: int, shape: tuple[int, ...] = (1,)) -> float:
        """The radius that ``count`` of n samples of the class prove, at level alpha: Clopper-Pearson, one-sided; 0: abstain."""
        return self._bound((count, n - count), 0, None, shape)

    def grid(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Quarters of sigma, up to 3 sigma."""
        return tuple(STEP * place * self.sigma / self._per_unit(shape) for place in range(1, LAST + 1))

    def measure(self) -> str:
        """L2, or Linf through it."""
        return self.norm

    def check_inputs(self, x: Tensor) -> None:
        """With ``quantised``: only inputs of the grid.

        Raises:
            DataError: others.
        """
        if self.quantised:
            grid_noise(self.sigma, self.levels).check(x)

    def _per_unit(self, shape: tuple[int, ...]) -> float:
        """The longest L2 size of a change of size 1, rounded up."""
        return sqrt(prod(shape)) * (1.0 + 1e-15) if self.norm == "linf" else 1.0

    def _bias(self, shape: tuple[int, ...]) -> float:
        return grid_noise(self.sigma, self.levels).bias * prod(shape) if self.quantised else 0.0
