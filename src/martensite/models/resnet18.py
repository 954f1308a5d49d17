"""ResNet18 for small images.

He, Zhang, Ren and Sun 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385: the basic block of fig. 2
and the 18 layers of table 1. As for CIFAR-10 (sec. 4.2) the stem is a 3 x 3 convolution with no pooling after it.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.shapes import image_shape

SMALLEST = 8


@ARCHITECTURES.register
class ResNet18(Architecture):
    """A 3 x 3 stem, four stages of two basic blocks, average pooling and a linear layer.

    Args:
        width: Channels of the first stage; each later stage has twice those of the one before it.
    """

    kind: Literal["resnet18"] = "resnet18"
    width: PositiveInt = 64

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) with sides of at least 8."""
        channels, _, _ = image_shape("resnet18", shape, SMALLEST)
        width = self.width
        net = nn.Sequential(
            _conv(channels, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *[
                _stage(width * before, width * now, stride)
                for before, now, stride in ((1, 1, 1), (1, 2, 2), (2, 4, 2), (4, 8, 2))
            ],
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, classes),
        )
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        return net


class _Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; the shortcut is a 1 x 1 convolution where the shape changes (eq. 2)."""

    def __init__(self, before: int, now: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(before, now, stride), nn.BatchNorm2d(now)
        self.conv2, self.norm2 = _conv(now, now), nn.BatchNorm2d(now)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != now:
            self.shortcut = nn.Sequential(nn.Conv2d(before, now, 1, stride, bias=False), nn.BatchNorm2d(now))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def _stage(before: int, now: int, stride: int) -> nn.Module:
    return nn.Sequential(_Block(before, now, stride), _Block(now, now, 1))


def _conv(before: int, now: int, stride: int = 1) -> nn.Conv2d:
    # The normalisation that follows has a bias of its own.
    return nn.Conv2d(before, now, 3, stride, padding=1, bias=False)
