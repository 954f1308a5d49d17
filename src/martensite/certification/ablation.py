"""Random ablation: the class that wins on few pixels, drawn at random, is certified against changes of a few pixels.

Levine and Feizi 2020, "Robustness certificates for sparse adversarial attacks by randomized ablation", AAAI, arXiv:1911.09272,
Theorem 1. Of d pixels k are kept and the others blanked. If rho pixels are changed, none of them is kept with probability
C(d - rho, k) / C(d, k), and then the network sees what it saw before. So no probability changes by more than
Delta(rho) = 1 - C(d - rho, k) / C(d, k), and a class of p_A against rivals of at most p_B wins while 2 Delta < p_A - p_B.
"""

from math import exp, expm1, lgamma
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from martensite.certification.certifier import CERTIFIERS
from martensite.certification.sampled import Sampled
from martensite.core.errors import ConfigError

LOGGAMMA = 1e-9  # absolute: above the rounding of a sum of four lgammas of up to a hundred million


@CERTIFIERS.register
class Ablation(Sampled):
    """Random ablation, L0. The model must be one that was trained on ablated inputs.

    A pixel of an image (C, H, W) is kept or blanked in all its channels; of other inputs, each value is a pixel.

    Args:
        keep: k, pixels kept.
        fill: What a blanked pixel's value becomes. A network can't tell it from a pixel that has this value: where that costs
            accuracy, encode the difference in the model, e.g. by a channel that is 1 where ``x == fill``.
        selection: As in `Sampled`; here by default a sample, because a network trained on ablated inputs needn't know whole ones.
    """

    kind: Literal["ablation"] = "ablation"
    keep: PositiveInt
    fill: float = 0.0
    selection: NonNegativeInt = 100

    def noisy(self, x: Tensor, out: Tensor, rng: torch.Generator) -> None:
        """Copies of x with all but k pixels blanked."""
        n, pixels = len(out), _pixels(tuple(x.shape))
        order = torch.rand(n, pixels, generator=rng, dtype=torch.float64).topk(self.keep, sorted=False).indices
        kept = torch.zeros(n, pixels, dtype=torch.bool).scatter_(1, order, value=True)
        mask = kept.view(n, 1, *x.shape[1:]) if x.dim() == 3 else kept.view(n, *x.shape)
        torch.where(mask, x, torch.full_like(x, self.fill), out=out)

    def change(self, radius: int, shape: tuple[int, ...]) -> float:
        """Delta, rounded up: the most that changing so many pixels can change a probability."""
        d = _pixels(shape)
        if radius > d - self.keep:
            return 1.0
        ratio = lgamma(d - radius + 1) - lgamma(d - radius - self.keep + 1) - lgamma(d + 1) + lgamma(d - self.keep + 1)
        return min(1.0, -expm1(min(0.0, ratio)) + exp(min(0.0, ratio)) * LOGGAMMA) if radius else 0.0

    def miss_rate(self, radius: float, shape: tuple[int, ...]) -> float:
        """1/2 - Delta."""
        return (0.5 - self.change(-int(-radius // 1), shape)) * (1.0 - 1e-13)

    def reach(self, miss: float, rival: float, shape: tuple[int, ...]) -> float:
        """The most pixels with 2 Delta < 1 - miss - rival."""
        low, high = 0, _pixels(shape) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if 2.0 * self.change(middle, shape) < 1.0 - miss - rival - 1e-14 else (low, middle)
        return float(low)

    def grid(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Every number of pixels that perfect agreement could certify."""
        return tuple(float(radius) for radius in range(1, max(1, int(self.reach(0.0, 0.0, shape))) + 1))

    def measure(self) -> str:
        """L0, in pixels."""
        return "l0"

    def check_inputs(self, x: Tensor) -> None:
        """Refuse to keep more pixels than there are.

        Raises:
            ConfigError: see above.
        """
        if (pixels := _pixels(tuple(x.shape[1:]))) < self.keep:
            raise ConfigError(f"keep is {self.keep}", f"an input has {pixels} pixels", "keep fewer, e.g. one in twenty")


def _pixels(shape: tuple[int, ...]) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else int(torch.Size(shape).numel())
