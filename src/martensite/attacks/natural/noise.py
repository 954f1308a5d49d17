"""Noise: of the sensor (Gaussian), of few photons (shot), of broken pixels (impulse), in proportion to the light (speckle)."""

import numpy as np
import torch
from scipy import special
from torch import Tensor

from martensite.attacks.natural.resample import strength
from martensite.core.rng import Streams


def gaussian(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.04 to 0.1; 0.08 to 0.38 on large images."""
    sigma = strength(image, severity, (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38))
    return image + sigma * rng.normal(image.shape[1:])


def shot(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Poisson, with 500 to 50 photons in white; 60 to 3 on large images."""
    photons = strength(image, severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    unit, mean = rng.uniform(image.shape[1:]).double().numpy(), photons * image.numpy()
    # The quantile: the least count whose distribution function reaches ``unit``. None is NaN: where no light is expected.
    count = np.ceil(np.nan_to_num(special.pdtrik(unit, mean)))
    lower = np.maximum(count - 1, 0)
    return torch.from_numpy(np.where(special.pdtr(lower, mean) >= unit, lower, count)) / photons


def impulse(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A share of 1 % to 7 % of the values becomes black or white; of 3 % to 27 % on large images."""
    share = strength(image, severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    unit = rng.uniform(image.shape[1:])
    return torch.where(unit < share, (unit < share / 2.0).to(image), image)


def speckle(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.06 to 0.2 times the value; 0.15 to 0.6 on large images."""
    sigma = strength(image, severity, (0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.35, 0.45, 0.6))
    return image + sigma * image * rng.normal(image.shape[1:])
