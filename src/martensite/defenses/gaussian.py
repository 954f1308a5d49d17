"""Gaussian smoothing. It is linear: an attack loses nothing by it but the frequencies that it takes away."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d

from martensite.core.rng import Streams
from martensite.defenses.median import mirrored
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box

TRUNCATE = 4.0  # standard deviations, as scipy has it


@TRANSFORMS.register
class Gaussian(Transform):
    """A Gaussian window, mirrored at the edges.

    Args:
        sigma: Standard deviation, in pixels; at most 10.
    """

    kind: Literal["gaussian"] = "gaussian"
    sigma: float = Field(default=0.7, gt=0.0, le=10.0)

    differentiable: ClassVar = True

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        reach = int(TRUNCATE * self.sigma + 0.5)
        line = torch.tensor([math.exp(-0.5 * (at / self.sigma) ** 2) for at in range(-reach, reach + 1)], dtype=torch.float64)
        line = (line / line.sum()).to(x)
        flat = mirrored(x, (reach,) * 4).flatten(0, 1)[:, None]
        smooth = conv2d(conv2d(flat, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))
        return smooth.view(x.shape).clamp(*box)
