"""Random resizing and padding.

Xie et al. 2018, "Mitigating adversarial effects through randomization", arXiv:1711.01991, sec. 3. Broken by expectation over its
draws: Athalye, Carlini and Wagner 2018, arXiv:1802.00420, sec. 5.4.2.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample

from martensite.core.rng import Streams
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box


@TRANSFORMS.register
class ResizePad(Transform):
    """Each image shrunk by a random factor (bilinear) and laid at a random place on the box's lower end.

    The image keeps its size: the networks here take one size only, where the paper's takes a larger one.

    Args:
        least: Smallest factor, in (0, 1]; the factor is uniform between it and 1.
    """

    kind: Literal["resize_pad"] = "resize_pad"
    least: float = Field(default=0.8, gt=0.0, le=1.0)

    random: ClassVar = True
    differentiable: ClassVar = True

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        draws = rng.uniform((3,)).to(x)
        factor = self.least + (1.0 - self.least) * draws[:, 0]
        # In coordinates from -1 to 1 the small image covers `factor` to each side of a centre that leaves it inside.
        centre = (1.0 - factor)[:, None] * (2.0 * draws[:, 1:] - 1.0)
        high, wide = x.shape[2:]
        down = (torch.arange(high, device=x.device, dtype=x.dtype) * 2 + 1) / high - 1
        along = (torch.arange(wide, device=x.device, dtype=x.dtype) * 2 + 1) / wide - 1
        rows = (down[None] - centre[:, :1]) / factor[:, None]
        columns = (along[None] - centre[:, 1:]) / factor[:, None]
        grid = torch.stack([columns[:, None, :].expand(-1, high, -1), rows[:, :, None].expand(-1, -1, wide)], 3)
        laid = grid_sample(x - box[0], grid, padding_mode="zeros", align_corners=False) + box[0]
        return laid.clamp(*box)
