"""What the corruptions share: strengths and lengths by the image's size, and images looked at from elsewhere."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

T = TypeVar("T")
SMALL, LARGE = 32, 224  # the sides of the images that strengths are published for, CIFAR's and ImageNet's


def is_large(image: Tensor) -> bool:
    """Whether the shorter side is nearer to ImageNet's than to CIFAR's, in proportion: from 85 pixels on."""
    return min(image.shape[-2:]) ** 2 >= SMALL * LARGE


def strength(image: Tensor, severity: int, small: Sequence[T], large: Sequence[T]) -> T:
    """Of the strengths published for the one or the other size, that of this severity (0 to 4)."""
    return (large if is_large(image) else small)[severity]


def scale(image: Tensor) -> float:
    """By how much lengths in pixels of 32, or of 224, grow; below 32 they stay, for a tenth of a pixel blurs nothing."""
    side = min(image.shape[-2:])
    return side / LARGE if is_large(image) else max(1.0, side / SMALL)


def look(image: Tensor, theta: Tensor, padding: str = "border") -> Tensor:
    """Images (n, C, H, W) through affine maps (n, 2, 3) of output to input coordinates, -1 to 1 from edge to edge."""
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode=padding, align_corners=False)


def zoomed(image: Tensor, factor: float) -> Tensor:
    """Enlarged about the centre."""
    theta = image.new_tensor([[1.0 / factor, 0.0, 0.0], [0.0, 1.0 / factor, 0.0]])
    return look(image, theta.expand(len(image), 2, 3))


def streaked(image: Tensor, sigma: float, angle: Tensor) -> Tensor:
    """Smeared one way: the mean over shifts along ``angle`` (n,), in radians, with half a Gaussian's weights."""
    shifts = torch.arange(int(3.0 * sigma) + 2, dtype=image.dtype)
    weights = torch.exp(-0.5 * (shifts / sigma) ** 2)
    high, wide = image.shape[-2:]
    theta = image.new_zeros(len(image), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0
    total = torch.zeros_like(image)
    for shift, weight in zip(shifts.tolist(), (weights / weights.sum()).tolist(), strict=True):
        theta[:, 0, 2], theta[:, 1, 2] = angle.cos() * shift * 2 / wide, angle.sin() * shift * 2 / high
        total += weight * look(image, theta)
    return total
