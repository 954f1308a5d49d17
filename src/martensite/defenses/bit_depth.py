"""Bit-depth reduction: values rounded to a coarse grid.

Xu, Evans and Qi 2018, "Feature squeezing", NDSS, arXiv:1704.01155, sec. III-A. Alone it stops no adaptive attack (Athalye,
Carlini and Wagner 2018, arXiv:1802.00420, sec. 5.3).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from martensite.core.rng import Streams
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box


@TRANSFORMS.register
class BitDepth(Transform):
    """Rounding to 2^bits evenly spaced values from end to end of the box; its gradient is taken for the identity's.

    Args:
        bits: 1 to 16.
    """

    kind: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(default=4, ge=1, le=16)

    images: ClassVar = False

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        steps = 2**self.bits - 1
        level = ((x - box[0]) / (box[1] - box[0]) * steps).round()
        return torch.clamp(level / steps * (box[1] - box[0]) + box[0], *box)
