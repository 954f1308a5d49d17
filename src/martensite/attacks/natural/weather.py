"""Weather: snow, frost, fog, and the brightness of the day."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.natural.resample import scale, streaked, strength, zoomed
from martensite.core.rng import Streams

FROST = (0.85, 0.95, 1.0)  # what ice leaves of red, green and blue


def snow(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A whitened image under two layers of streaks, one the other turned round."""
    small = (
        (0.1, 0.2, 1.0, 0.6, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 12.0, 0.8),
    )
    large = (
        (0.1, 0.3, 3.0, 0.5, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12.0, 0.55),
    )
    mean, deviation, size, least, sigma, kept = strength(image, severity, small, large)
    flakes = zoomed(mean + deviation * rng.normal((1, *image.shape[2:])).double(), max(size * scale(image), 1.0))
    angle = -math.pi / 4 * rng.uniform((1,), 1.0, 3.0).double().squeeze(1)
    layer = streaked(torch.where(flakes < least, 0.0, flakes).clamp(0, 1), sigma * scale(image), angle)
    white = torch.maximum(image, image.mean(1, keepdim=True) * 1.5 + 0.5)
    return kept * image + (1.0 - kept) * white + layer + layer.rot90(2, (2, 3))


def frost(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Crystals of ice laid over a dimmed image: the ridges of a plasma fractal, in patches of another."""
    small, large = (
        ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    )
    kept, laid = strength(image, severity, small, large)
    ridges = 1.0 - (2.0 * plasma(image, 1.5, rng) - 1.0).abs()
    patches = torch.sigmoid(12.0 * (plasma(image, 2.5, rng) - 0.4))
    tint = image.new_tensor(FROST if image.shape[1] == 3 else (1.0,)).view(1, -1, 1, 1)
    return kept * image + laid * tint * patches * (0.5 + 0.5 * ridges)


def fog(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A plasma fractal added, and the sum dimmed to the image's own range."""
    small, large = (
        ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    )
    thick, decay = strength(image, severity, small, large)
    brightest = image.amax((1, 2, 3), keepdim=True)
    return (image + thick * plasma(image, decay, rng)) * brightest / (brightest + thick)


def brightness(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """The value of hue, saturation and value, raised by 0.05 to 0.3; by 0.1 to 0.5 on large images."""
    added = strength(image, severity, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    if image.shape[1] != 3:
        return image + added
    value = image.amax(1, keepdim=True)
    # Hue and saturation stay if the channels keep their ratios; black has none and becomes a grey.
    brighter = (value + added).clamp(max=1.0)
    return torch.where(value > 0, image * brighter / value.clamp_min(1e-12), brighter)


def plasma(image: Tensor, decay: float, rng: Streams) -> Tensor:
    """(n, 1, H, W) clouds from 0 to 1, by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982) on a torus.

    Args:
        image: (n, C, H, W), for the shape.
        decay: The square root of the factor by which the variation shrinks from each scale to the next finer.
        rng: One random stream a sample.
    """
    side = 2 ** math.ceil(math.log2(max(image.shape[-2:])))
    clouds = image.new_zeros(len(image), 1, 1)
    amplitude = 1.0
    for level in range(int(math.log2(side))):
        size = 2**level
        noise = amplitude * rng.uniform((3, size, size), -1.0, 1.0).double()
        below, right = clouds.roll(-1, 1), clouds.roll(-1, 2)
        middle = (clouds + below + right + below.roll(-1, 2)) / 4.0 + noise[:, 0]
        top = (clouds + right + middle + middle.roll(1, 1)) / 4.0 + noise[:, 1]
        left = (clouds + below + middle + middle.roll(1, 2)) / 4.0 + noise[:, 2]
        # Pixels of the finer grid in the order (old, top, left, middle).
        clouds = F.pixel_shuffle(torch.stack([clouds, top, left, middle], 1), 2).squeeze(1)
        amplitude /= decay**2
    clouds = clouds - clouds.amin((1, 2), keepdim=True)
    clouds = clouds / clouds.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return clouds[:, None, : image.shape[2], : image.shape[3]]
