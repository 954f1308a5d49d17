"""Blur: of the lens (Gaussian, defocus), of frosted glass, of motion, of zooming."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from martensite.attacks.natural.resample import scale, streaked, strength, zoomed
from martensite.core.rng import Streams


def gaussian(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.4 to 1 pixels of 32; 1 to 6 of 224 on large images."""
    return _smooth(image, strength(image, severity, (0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)) * scale(image))


def defocus(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A disk, its edge smoothed: radius and smoothing in pixels of 32, or of 224."""
    small, large = (
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    )
    radius, smoothing = np.array(strength(image, severity, small, large)) * scale(image)
    reach = math.ceil(radius) + math.ceil(smoothing)
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), smoothing, radius=math.ceil(smoothing), mode="constant")
    return torch.from_numpy(ndimage.convolve(image.numpy(), (kernel / kernel.sum())[None, None], mode="nearest"))


def glass(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Smoothed, pixels swapped with neighbours one after the other, smoothed."""
    small, large = (
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    )
    sigma, far, rounds = strength(image, severity, small, large)
    reach = max(round(far * scale(image)), 1)
    shuffled = _smooth(image, sigma * scale(image)).numpy().copy()
    n, _, high, wide = shuffled.shape
    offsets = rng.integers(2 * reach + 1, (rounds, high, wide, 2)).numpy() - reach
    each = np.arange(n)
    for turn in range(rounds):
        for row in range(high - 1 - reach, reach - 1, -1):
            for column in range(wide - 1 - reach, reach - 1, -1):
                down, right = offsets[:, turn, row, column].T
                here = shuffled[:, :, row, column].copy()
                shuffled[:, :, row, column] = shuffled[each, :, row + down, column + right]
                shuffled[each, :, row + down, column + right] = here
    return _smooth(torch.from_numpy(shuffled), sigma * scale(image))


def motion(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Along a direction within 45 degrees of the horizontal, standard deviation 1 to 2.5 pixels of 32; 3 to 15 of 224."""
    angle = math.pi / 4 * rng.uniform((1,), -1.0, 1.0).double().squeeze(1)
    sigma = strength(image, severity, (1.0, 1.5, 2.0, 2.0, 2.5), (3.0, 5.0, 8.0, 12.0, 15.0))
    return streaked(image, sigma * scale(image), angle)


def zoom(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """The mean of the image and of enlargements, in steps of 1 % to 3 %, by up to 5 % to 25 % (10 % to 30 % of large ones)."""
    small, large = ((5, 1), (10, 1), (15, 1), (20, 1), (25, 1)), ((10, 1), (15, 1), (20, 2), (25, 2), (30, 3))
    most, step = strength(image, severity, small, large)
    larger = [zoomed(image, 1 + percent / 100) for percent in range(0, most + 1, step)]
    return (image + sum(larger)) / (len(larger) + 1)


def _smooth(image: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode="nearest"))
