"""Cutout: a square of the image is blanked.

DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552, sec. 3. The
centre is uniform over the image, so that the square may stick out.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Box
from martensite.training.augmentations.augmentation import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register
class Cutout(Augmentation):
    """One blank square an image.

    Args:
        size: Side of the square in pixels.
    """

    kind: Literal["cutout"] = "cutout"
    size: PositiveInt = 8

    def apply(self, x: Tensor, rng: Streams, box: Box) -> Tensor:
        """See `Augmentation.apply`."""
        down = self._covered(rng.integers(x.shape[2], (1,)), x.shape[2])
        across = self._covered(rng.integers(x.shape[3], (1,)), x.shape[3])
        hole = down[:, None, :, None] & across[:, None, None, :]
        return torch.where(hole, torch.full_like(x, box[0]), x)

    def _covered(self, centre: Tensor, length: int) -> Tensor:
        place = torch.arange(length, device=centre.device)[None, :]
        first = centre - self.size // 2
        return (place >= first) & (place < first + self.size)
