"""Median smoothing: each pixel the median of its neighbourhood.

Xu, Evans and Qi 2018, "Feature squeezing", NDSS, arXiv:1704.01155, sec. III-B.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from martensite.core.errors import ModelError
from martensite.core.rng import Streams
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box


@TRANSFORMS.register
class Median(Transform):
    """A sliding window, mirrored at the edges; of an even number of pixels the upper median, as scipy has it.

    Its gradient is its own: the one of the pixel that is the median.

    Args:
        size: Side of the window, in pixels, at least 2.
    """

    kind: Literal["median"] = "median"
    size: int = Field(default=3, ge=2, le=15)

    differentiable: ClassVar = True

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        before, after = self.size // 2, (self.size - 1) // 2
        wide = mirrored(x, (before, after, before, after))
        windows = wide.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.kthvalue(self.size**2 // 2 + 1, dim=4).values

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Also that the window isn't wider than the image."""
        super().check_shape(shape)
        if min(shape[1:]) < self.size:
            raise ModelError(f"median size {self.size} for images of {shape}", "the window must fit", "give a smaller size")


def mirrored(x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """x (n, C, H, W) with its edges mirrored, the edge pixel repeated (scipy's mode ``"reflect"``); left, right, top, bottom."""
    left, right, top, bottom = sides
    if max(left, right) <= 1 and max(top, bottom) <= 1:
        return pad(x, sides, mode="replicate")  # to one pixel the two are the same
    high, wide = x.shape[2:]
    down = [_folded(place, high) for place in range(-top, high + bottom)]
    along = [_folded(place, wide) for place in range(-left, wide + right)]
    return x[:, :, down][:, :, :, along]


def _folded(place: int, size: int) -> int:
    place %= 2 * size
    return min(place, 2 * size - 1 - place)
