"""Smoothing by uniform noise: the class that wins is certified within an L1 radius.

Yang, Duan, Hu, Salman, Razenshteyn and Li 2020, "Randomized smoothing of all shapes and sizes", arXiv:2002.08118 (uniform noise
on a cube); the radius goes back to Lee et al. 2019, "Tight certificates of adversarial robustness", arXiv:1906.04948.

With noise uniform on [-lambda, lambda]^d, the noisy copies of x and of x + delta are uniform on two cubes that share a part of
prod_i (1 - |delta_i| / (2 lambda))_+ >= 1 - |delta|_1 / (2 lambda) of each. No probability can change by more than the rest,
|delta|_1 / (2 lambda). So a class of p_A against rivals of at most p_B still wins if 2 |delta|_1 / (2 lambda) < p_A - p_B: within
lambda (p_A - p_B), which for p_B = 1 - p_A is 2 lambda (p_A - 1/2).
"""

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from martensite.certification.certifier import CERTIFIERS
from martensite.certification.sampled import ROUNDED, Sampled

STEPS = 20  # of the grid of radii, up to lambda


@CERTIFIERS.register
class UniformSmoothing(Sampled):
    """Smoothing by uniform noise, L1.

    Args:
        width: lambda: each coordinate's noise is uniform on [-width, width], in input units; its standard deviation is
            width / sqrt(3).
    """

    kind: Literal["uniform_smoothing"] = "uniform_smoothing"
    width: PositiveFloat

    def noisy(self, x: Tensor, out: Tensor, rng: torch.Generator) -> None:
        """x + noise."""
        out.uniform_(generator=rng).mul_(2.0).sub_(1.0).mul_(self.width).add_(x)

    def miss_rate(self, radius: float, shape: tuple[int, ...]) -> float:
        """1/2 - radius / (2 lambda)."""
        return (0.5 - radius / (2.0 * self.width)) * ROUNDED - 1e-15

    def reach(self, miss: float, rival: float, shape: tuple[int, ...]) -> float:
        """lambda (1 - miss - rival)."""
        return max(0.0, self.width * (1.0 - miss - rival - 1e-14))

    def grid(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Twentieths of lambda."""
        return tuple(self.width * place / STEPS for place in range(1, STEPS))

    def measure(self) -> str:
        """L1."""
        return "l1"
