"""Digital: contrast, elastic deformation, pixelation, JPEG."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.natural.resample import strength
from martensite.core.rng import Streams

SLIP = 244 / 224  # the lengths published for 224 x 224 images were worked out for 244


def contrast(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Each channel's distance from its mean, times 0.75 to 0.15; 0.4 to 0.05 on large images."""
    mean = image.mean((2, 3), keepdim=True)
    return (image - mean) * strength(image, severity, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)) + mean


def elastic(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """A random affine map that moves three points, then a smooth random displacement; lengths in shares of the shorter side."""
    n, _, high, wide = image.shape
    side = min(high, wide)
    small = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    large = ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    slipped = [(push * SLIP, sigma * SLIP, moved * SLIP) for push, sigma, moved in large]
    push, sigma, moved = strength(image, severity, small, slipped)
    # In pixels from the centre: three corners of a square of two thirds of the side, and where they go.
    corners = side / 3.0 * image.new_tensor([[1, 1], [1, -1], [-1, -1]])
    goals = corners + moved * side * rng.uniform((3, 2), -1.0, 1.0).double()
    ones = image.new_ones(3, 1)
    affine = torch.linalg.solve(torch.cat([corners, ones], 1).expand(n, 3, 3), goals)  # (n, 3, 2): [x, y, 1] @ affine
    fields = rng.uniform((2, high, wide), -1.0, 1.0).double().numpy()
    smooth = ndimage.gaussian_filter(fields, (0, 0, sigma * side, sigma * side), mode="reflect", truncate=3)
    down, right = torch.meshgrid(torch.arange(high) - (high - 1) / 2, torch.arange(wide) - (wide - 1) / 2, indexing="ij")
    at = torch.stack([right, down], 2).double() + push * side * torch.from_numpy(smooth).permute(0, 2, 3, 1)
    source = torch.einsum("nhwi,nij->nhwj", at, affine[:, :2]) + affine[:, None, None, 2]
    grid = source * 2.0 / image.new_tensor([wide, high])
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)


def pixelate(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Box-averaged down to 0.95 to 0.65 of the side, or 0.6 to 0.25 on large images, and back by the nearest pixel."""
    share = strength(image, severity, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
    small = F.interpolate(image, [max(1, int(side * share)) for side in image.shape[-2:]], mode="area")
    return F.interpolate(small, image.shape[-2:], mode="nearest-exact")


def jpeg(image: Tensor, severity: int, rng: Streams) -> Tensor:
    """Quality 80 to 40, or 25 to 7 on large images; three channels as a colour image, any other number each as a grey one."""
    quality = strength(image, severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7))
    pixels = (image * 255.0).round().clamp(0, 255).to(torch.uint8).numpy()
    if pixels.shape[1] == 3:
        made = np.stack([_reread(one.transpose(1, 2, 0), quality).transpose(2, 0, 1) for one in pixels])
    else:
        made = np.stack([[_reread(channel, quality) for channel in one] for one in pixels])
    return torch.from_numpy(made).double() / 255.0


def _reread(
    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", quality: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))
