"""Noise: of the sensor (Gaussian), of few photons (shot), of broken pixels (impulse), in proportion to the light (speckle)."""

import numpy as np
import torch
from scipy import special
from torch import Tensor

from martensite.core.rng import Streams


def gaussian(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.04 to 0.1."""
    return image + (0.04, 0.06, 0.08, 0.09, 0.1)[severity] * rng.normal(image.shape[1:])


def shot(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Poisson, with 500 to 50 photons in white."""
    photons = (500, 250, 100, 75, 50)[severity]
    unit, mean = rng.uniform(image.shape[1:]).double().numpy(), photons * image.numpy()
    # The quantile: the least count whose distribution function reaches ``unit``. None is NaN: where no light is expected.
    count = np.ceil(np.nan_to_num(special.pdtrik(unit, mean)))
    lower = np.maximum(count - 1, 0)
    return torch.from_numpy(np.where(special.pdtr(lower, mean) >= unit, lower, count)) / photons


def impulse(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A share of 1 % to 7 % of the values becomes black or white."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity]
    unit = rng.uniform(image.shape[1:])
    return torch.where(unit < share, (unit < share / 2.0).to(image), image)


def speckle(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.06 to 0.2 times the value."""
    return image + (0.06, 0.1, 0.12, 0.16, 0.2)[severity] * image * rng.normal(image.shape[1:])
