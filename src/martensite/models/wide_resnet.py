"""WideResNet: fewer layers and more channels; the network of most published robustness figures.

Zagoruyko and Komodakis 2016, "Wide residual networks", arXiv:1605.07146, table 1: groups of 16k, 32k and 64k channels.
"""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from martensite.core.errors import ConfigError
from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.preactivation import PreActivationBlock, convolution, preactivation_net
from martensite.models.shapes import image_shape

SMALLEST = 4


@ARCHITECTURES.register
class WideResNet(Architecture):
    """WRN-depth-width: a stem of 16 channels, three groups of (depth - 4) / 6 blocks, average pooling and a linear layer.

    The literature's sizes are WRN-28-10 and WRN-34-10 (36.5 and 46.2 million parameters); the default is one for a CPU.

    Args:
        depth: Layers in all, 6N + 4 for N blocks a group.
        width: The widening factor k.
        dropout: Share of activations dropped between the convolutions of a block.

    Raises:
        ConfigError: ``depth`` isn't 6N + 4 with N of at least 1.
    """

    kind: Literal["wide_resnet"] = "wide_resnet"
    depth: PositiveInt = 16
    width: PositiveInt = 4
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ConfigError(
                f"WideResNet.depth is {self.depth}", "a depth is 6N + 4 for N blocks a group", "e.g. 10, 16, 22, 28, 34 or 40"
            )
        return self

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 4."""
        channels, _, _ = image_shape("wide_resnet", shape, SMALLEST)
        blocks, before = [], 16
        for group in range(3):
            now = 16 * 2**group * self.width
            for place in range((self.depth - 4) // 6):
                blocks.append(PreActivationBlock(before, now, 2 if group and not place else 1, self.dropout))
                before = now
        return preactivation_net(convolution(channels, 16), blocks, classes)
