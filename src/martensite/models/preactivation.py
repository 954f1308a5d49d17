"""The pre-activation residual block: normalise and rectify before each convolution, and leave the sum alone.

He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, fig. 4(e).
"""

from torch import Tensor, nn
from torch.nn import functional as F


class PreActivationBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))).

    Where the shape changes, the shortcut is a 1 x 1 convolution of the first activation: what is summed stays free of
    normalisation, so that the identity runs through the network.

    Args:
        before: Channels of the input.
        now: Channels of the output.
        stride: Of the first convolution.
        dropout: Share of activations dropped between the convolutions (Zagoruyko and Komodakis 2016, arXiv:1605.07146, fig. 1d).
    """

    def __init__(self, before: int, now: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), convolution(before, now, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(now), convolution(now, now)
        self.dropout = nn.Dropout(dropout)
        changes = stride != 1 or before != now
        self.shortcut = nn.Conv2d(before, now, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(n, now, H / stride, W / stride)."""
        active = F.relu(self.norm1(x))
        inner = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)))))
        return inner + (x if self.shortcut is None else self.shortcut(active))  # type: ignore[no-any-return]


def preactivation_net(stem: nn.Conv2d, blocks: list[PreActivationBlock], classes: int) -> nn.Sequential:
    """Stem, blocks, the last activation that the blocks leave open (sec. 4.1), average pooling and a linear layer."""
    width = blocks[-1].conv2.out_channels
    head = (nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    net = nn.Sequential(stem, *blocks, *head)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return net


def convolution(before: int, now: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3, without a bias: the normalisation around it has one."""
    return nn.Conv2d(before, now, 3, stride, padding=1, bias=False)
