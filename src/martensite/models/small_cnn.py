"""SmallCNN: three convolutions and a linear layer; the baseline for images from 8 x 8 digits to 28 x 28 MNIST."""

from typing import Literal

from pydantic import PositiveInt
from torch import nn

from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.shapes import image_shape

SMALLEST = 4


@ARCHITECTURES.register
class SmallCNN(Architecture):
    """Convolutions with ReLU, the second and third of stride 2, then a linear layer to the logits.

    It has no batch normalisation, so clean and adversarial samples can share a batch without sharing statistics.

    Args:
        width: Channels of the first convolution; the second has twice, the third four times as many.
    """

    kind: Literal["small_cnn"] = "small_cnn"
    width: PositiveInt = 16

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 4."""
        channels, height, width = image_shape("small_cnn", shape, SMALLEST)
        quarter = _halved(_halved(height)) * _halved(_halved(width))
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * self.width, 4 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * self.width * quarter, classes),
        )


def _halved(side: int) -> int:
    # What a 3 x 3 convolution of stride 2 and padding 1 leaves of a side.
    return (side + 1) // 2
