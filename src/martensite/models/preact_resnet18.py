"""PreActResNet18 for small images: the usual network of fast adversarial training and of catastrophic overfitting.

He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, in the 18 layers of their earlier
arXiv:1512.03385, table 1, with a 3 x 3 stem and no pooling after it.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import nn

from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.preactivation import PreActivationBlock, convolution, preactivation_net
from martensite.models.shapes import image_shape

SMALLEST = 8


@ARCHITECTURES.register
class PreActResNet18(Architecture):
    """A 3 x 3 stem, four stages of two pre-activation blocks, average pooling and a linear layer.

    Args:
        width: Channels of the first stage; each later stage has twice those of the one before it.
    """

    kind: Literal["preact_resnet18"] = "preact_resnet18"
    width: PositiveInt = 64

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 8."""
        channels, _, _ = image_shape("preact_resnet18", shape, SMALLEST)
        blocks, before = [], self.width
        for stage in range(4):
            now = self.width * 2**stage
            blocks += [PreActivationBlock(before, now, 1 if stage == 0 else 2), PreActivationBlock(now, now, 1)]
            before = now
        return preactivation_net(convolution(channels, self.width), blocks, classes)
