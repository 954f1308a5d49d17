"""Blur: of the lens (Gaussian, defocus), of frosted glass, of motion, of zooming."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from martensite.attacks.natural.resample import scale, streaked, zoomed
from martensite.core.rng import Streams


def gaussian(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Standard deviation 0.4 to 1 pixels of 32."""
    return _smooth(image, (0.4, 0.6, 0.7, 0.8, 1.0)[severity] * scale(image))


def defocus(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A disk, its edge smoothed: radius and smoothing in pixels of 32."""
    radius, smoothing = np.array(((0.3, 0.4), (0.5, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity]) * scale(image)
    reach = math.ceil(radius) + math.ceil(smoothing)
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), smoothing, radius=math.ceil(smoothing), mode="constant")
    return torch.from_numpy(ndimage.convolve(image.numpy(), (kernel / kernel.sum())[None, None], mode="nearest"))


def glass(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Smoothed, pixels swapped with neighbours one after the other, smoothed."""
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity]
    reach = round(scale(image))
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
    """Along a direction within 45 degrees of the horizontal, standard deviation 1 to 2.5 pixels of 32."""
    angle = math.pi / 4 * rng.uniform((1,), -1.0, 1.0).double().squeeze(1)
    return streaked(image, (1.0, 1.5, 2.0, 2.0, 2.5)[severity] * scale(image), angle)


def zoom(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """The mean of the image and of enlargements, in steps of 1 %, by up to 5 % to 25 %."""
    most = (5, 10, 15, 20, 25)[severity]
    return (image + sum(zoomed(image, 1 + percent / 100) for percent in range(most + 1))) / (most + 2)


def _smooth(image: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode="nearest"))
