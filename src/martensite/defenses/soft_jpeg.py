"""JPEG as a differentiable function: colour space, subsampling, cosine transform and quantisation, without the entropy code.

Shin and Song 2017, "JPEG-resistant adversarial images", NIPS MLSec workshop, sec. 3; the steps and tables are those of ITU-T T.81
(annexes A.3.3 and K.1) with libjpeg's scaling by quality. The coefficients are rounded by round(v) + (v - round(v))^3, whose
slope is zero only at whole numbers.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def soft_jpeg(x: Tensor, quality: int) -> Tensor:
    """Images (n, C, H, W) in 0..255, compressed and decompressed.

    Args:
        x: Three channels are colours, any other number grey.
        quality: 1 to 100.
    """
    high, wide = x.shape[2:]
    light, colour = _table(quality, False).to(x), _table(quality, True).to(x)
    if x.shape[1] != 3:
        return _coded(x - 128.0, light)[..., :high, :wide].add(128.0).clamp(0.0, 255.0)
    ycc = torch.einsum("ij,njhw->nihw", torch.tensor(TO_YCC).to(x), x)
    y = _coded(ycc[:, :1] - 128.0, light)[..., :high, :wide] + 128.0
    even = pad(ycc[:, 1:], (0, wide % 2, 0, high % 2), mode="replicate")
    half = _coded(avg_pool2d(even, 2), colour)[..., : -(-high // 2), : -(-wide // 2)]
    chroma = interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)[..., :high, :wide]
    return torch.einsum("ij,njhw->nihw", torch.tensor(TO_RGB).to(x), torch.cat([y, chroma], 1)).clamp(0.0, 255.0)


def _coded(plane: Tensor, table: Tensor) -> Tensor:
    """Planes (n, C, H, W) around zero, quantised in blocks of 8 x 8; sides are rounded up to whole blocks."""
    high, wide = plane.shape[2:]
    whole = pad(plane, (0, -wide % 8, 0, -high % 8), mode="replicate")
    n, channels, rows, columns = whole.shape
    blocks = whole.view(n, channels, rows // 8, 8, columns // 8, 8).transpose(3, 4)
    basis = _cosines().to(plane)
    levels = basis @ blocks @ basis.T / table
    nearest = levels.detach().round()
    soft = nearest + (levels - nearest) ** 3
    return (basis.T @ (soft * table) @ basis).transpose(3, 4).reshape(n, channels, rows, columns)


@cache
def _cosines() -> Tensor:
    """(8, 8) the orthonormal cosine transform."""
    rows = [[math.cos((2 * at + 1) * k * math.pi / 16) for at in range(8)] for k in range(8)]
    basis = torch.tensor(rows, dtype=torch.float64) / 2.0
    basis[0] /= math.sqrt(2.0)
    return basis


@cache
def _table(quality: int, colour: bool) -> Tensor:
    """(8, 8) divisors, as libjpeg scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = torch.tensor(CHROMINANCE if colour else LUMINANCE)
    return ((base * scale + 50) // 100).clamp(1, 255).double()
