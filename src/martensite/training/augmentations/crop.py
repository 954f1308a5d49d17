"""Crop: the image shifted by a few pixels, after padding.

Lee et al. 2015, "Deeply-supervised nets", arXiv:1409.5185, sec. 3.3: 4 pixels for CIFAR-10.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import pad

from martensite.core.rng import Streams
from martensite.threat.ball import Box
from martensite.training.augmentations.augmentation import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register
class Crop(Augmentation):
    """A crop of the image's own size, uniform among those of the padded image.

    Args:
        padding: Pixels on each side.
    """

    kind: Literal["crop"] = "crop"
    padding: PositiveInt = 4

    def apply(self, x: Tensor, rng: Streams, box: Box) -> Tensor:
        """See `Augmentation.apply`."""
        n, _, height, width = x.shape
        padded = pad(x, [self.padding] * 4, value=box[0])
        top, left = rng.integers(2 * self.padding + 1, (2,)).unbind(1)
        rows = top[:, None, None] + torch.arange(height, device=x.device)[None, :, None]
        columns = left[:, None, None] + torch.arange(width, device=x.device)[None, None, :]
        images = torch.arange(n, device=x.device)[:, None, None]
        # Indices around a slice put the indexed axes first: (n, H, W, C).
        return padded[images, :, rows, columns].permute(0, 3, 1, 2).contiguous()
