"""Flip: the image mirrored left to right. Not for digits or letters."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Box
from martensite.training.augmentations.augmentation import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register
class Flip(Augmentation):
    """Mirrors an image with a given chance.

    Args:
        chance: In [0, 1].
    """

    kind: Literal["flip"] = "flip"
    chance: float = Field(default=0.5, ge=0.0, le=1.0)

    def apply(self, x: Tensor, rng: Streams, box: Box) -> Tensor:
        """See `Augmentation.apply`."""
        return torch.where(rng.uniform((1, 1, 1)) < self.chance, x.flip(3), x)
