"""TradesCNN: the MNIST network of TRADES, and of the published 92.81 % under AutoAttack.

Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", arXiv:1901.08573, sec. 5.3.1: four
convolutional layers and three fully connected ones, after Carlini and Wagner 2017, arXiv:1608.04644, table 1.
"""

from typing import Literal

from pydantic import Field, PositiveInt
from torch import nn

from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.shapes import image_shape

SMALLEST = 16


@ARCHITECTURES.register
class TradesCNN(Architecture):
    """Two pairs of unpadded 3 x 3 convolutions, max-pooling after each pair, two hidden layers; 312,202 parameters on MNIST.

    Args:
        width: Channels of the first pair; the second has twice as many.
        hidden: Units of each hidden layer.
        dropout: Share of the first hidden layer's activations that is dropped in training.
    """

    kind: Literal["trades_cnn"] = "trades_cnn"
    width: PositiveInt = 32
    hidden: PositiveInt = 200
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 16, below which nothing is left to pool."""
        channels, height, width = image_shape("trades_cnn", shape, SMALLEST)
        left = _left(_left(height)) * _left(_left(width))
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3),
            nn.ReLU(),
            nn.Conv2d(self.width, self.width, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(self.width, 2 * self.width, 3),
            nn.ReLU(),
            nn.Conv2d(2 * self.width, 2 * self.width, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * self.width * left, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )


def _left(side: int) -> int:
    # What two unpadded 3 x 3 convolutions and 2 x 2 pooling leave of a side.
    return (side - 4) // 2
