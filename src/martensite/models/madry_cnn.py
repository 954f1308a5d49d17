"""MadryCNN: two convolutions and a wide layer; the network of the first robust MNIST figures.

Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, sec. 5: two convolutional
layers with 32 and 64 filters, each followed by 2 x 2 max-pooling, and a fully connected layer of 1,024 units.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import nn

from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.shapes import image_shape

SMALLEST = 4


@ARCHITECTURES.register
class MadryCNN(Architecture):
    """Two 5 x 5 convolutions with ReLU and max-pooling, a hidden layer, a linear layer; 3,274,634 parameters on MNIST.

    Args:
        width: Channels of the first convolution; the second has twice as many.
        hidden: Units of the hidden layer.
    """

    kind: Literal["madry_cnn"] = "madry_cnn"
    width: PositiveInt = 32
    hidden: PositiveInt = 1024

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 4."""
        channels, height, width = image_shape("madry_cnn", shape, SMALLEST)
        quarter = -(-height // 4) * -(-width // 4)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(self.width, 2 * self.width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(2 * self.width * quarter, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )
