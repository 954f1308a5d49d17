"""What a network that bounds can be computed of is made of: affine maps, and three kinds of non-linear layer.

Each affine map knows its value, the spread W r -> |W| r of interval arithmetic, and its transpose, by which linear bounds go
backward (Xu et al. 2020, "Automatic perturbation analysis for scalable certified robustness and beyond", arXiv:2002.12920,
sec. 3.2). Average pooling is a convolution, batch normalisation in evaluation mode a scale, the sigmoid 1/2 + tanh(z / 2) / 2.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Dense:
    """W z + b.

    Args:
        weight: (m, n) float64.
        bias: (m,) float64.
    """

    weight: Tensor
    bias: Tensor

    def value(self, z: Tensor) -> Tensor:
        """(B, m) of (B, n)."""
        return F.linear(z, self.weight, self.bias)

    def spread(self, radius: Tensor) -> Tensor:
        """|W| r."""
        return F.linear(radius, self.weight.abs())

    def transpose(self, a: Tensor) -> Tensor:
        """a W, of rows (P, m)."""
        return a @ self.weight

    def offset(self, a: Tensor) -> Tensor:
        """(P,) a b."""
        return a @ self.bias

    def size(self, largest: Tensor) -> Tensor:
        """Upper bound on all that a row adds up, for inputs of at most this absolute value."""
        return largest * self.weight.abs().sum(1).amax() + self.bias.abs().amax()


@dataclass(frozen=True, eq=False)
class Convolution:
    """A 2-D convolution with zero padding.

    Args:
        weight: (C, c / groups, kh, kw) float64.
        bias: (C,) float64.
        image: (c, H, W) shape of the input.
    """

    weight: Tensor
    bias: Tensor
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    image: tuple[int, ...]

    def value(self, z: Tensor) -> Tensor:
        """(B, C, H', W') of (B, c, H, W)."""
        return F.conv2d(z, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def spread(self, radius: Tensor) -> Tensor:
        """|W| r."""
        return F.conv2d(radius, self.weight.abs(), None, self.stride, self.padding, self.dilation, self.groups)

    def transpose(self, a: Tensor) -> Tensor:
        """a W, of rows (P, C, H', W')."""
        rest = [
            self.image[1 + axis] - (self.sides[axis] - 1) * self.stride[axis] + 2 * self.padding[axis] - self._reach(axis)
            for axis in (0, 1)
        ]
        return F.conv_transpose2d(a, self.weight, None, self.stride, self.padding, rest, self.groups, self.dilation)

    @property
    def sides(self) -> Pair:
        """H', W'."""
        room = [self.image[1 + axis] + 2 * self.padding[axis] - self._reach(axis) for axis in (0, 1)]
        return room[0] // self.stride[0] + 1, room[1] // self.stride[1] + 1

    def _reach(self, axis: int) -> int:
        return self.dilation[axis] * (self.weight.shape[2 + axis] - 1) + 1

    def offset(self, a: Tensor) -> Tensor:
        """(P,) a b."""
        return a.sum((2, 3)) @ self.bias

    def size(self, largest: Tensor) -> Tensor:
        """See `Dense.size`."""
        return largest * self.weight.abs().sum((1, 2, 3)).amax() + self.bias.abs().amax()


@dataclass(frozen=True, eq=False)
class Scale:
    """w * z + b, entry by entry; w and b broadcast over an input without its batch."""

    weight: Tensor
    bias: Tensor

    @property
    def by_channel(self) -> bool:
        """Whether all of a channel of an image is scaled alike."""
        return all(part.numel() == 1 or part.shape[-2:] == (1, 1) for part in (self.weight, self.bias))

    def value(self, z: Tensor) -> Tensor:
        """(B, *shape) of the same."""
        return z * self.weight + self.bias

    def spread(self, radius: Tensor) -> Tensor:
        """|w| * r."""
        return radius * self.weight.abs()

    def transpose(self, a: Tensor) -> Tensor:
        """a * w."""
        return a * self.weight

    def offset(self, a: Tensor) -> Tensor:
        """(P,) a b."""
        return (a * self.bias).flatten(1).sum(1)

    def size(self, largest: Tensor) -> Tensor:
        """See `Dense.size`."""
        return largest * self.weight.abs().amax() + self.bias.abs().amax()


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same numbers in another shape."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def value(self, z: Tensor) -> Tensor:
        """(B, *after) of (B, *before)."""
        return z.reshape(len(z), *self.after)

    def spread(self, radius: Tensor) -> Tensor:
        """The same numbers."""
        return self.value(radius)

    def transpose(self, a: Tensor) -> Tensor:
        """(P, *before) of (P, *after)."""
        return a.reshape(len(a), *self.before)

    def offset(self, a: Tensor) -> Tensor:
        """(P,) zeros."""
        return a.new_zeros(len(a))

    def size(self, largest: Tensor) -> Tensor:
        """See `Dense.size`."""
        return largest


@dataclass(frozen=True, eq=False)
class Add:
    """The sum of two nodes, as at the end of a residual block."""


@dataclass(frozen=True, eq=False)
class Rectifier:
    """max(z, slope z) with slope in [0, 1): ReLU, and leaky ReLU."""

    slope: float

    def value(self, z: Tensor) -> Tensor:
        """Entry by entry."""
        return torch.where(z > 0, z, self.slope * z) if self.slope else z.clamp_min(0.0)


@dataclass(frozen=True, eq=False)
class Tanh:
    """tanh z."""

    def value(self, z: Tensor) -> Tensor:
        """Entry by entry."""
        return z.tanh()


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The largest number in each window of an image.

    Args:
        image: (c, H, W) shape of the input.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    image: tuple[int, ...]

    def value(self, z: Tensor) -> Tensor:
        """(B, c, H', W')."""
        return F.max_pool2d(z, self.kernel, self.stride, self.padding, self.dilation)

    def windows(self, z: Tensor) -> Tensor:
        """(B, c, kh kw, H' W') what each window sees; minus infinity beyond the border."""
        (ph, pw), channels = self.padding, self.image[0]
        padded = F.pad(z, (pw, pw, ph, ph), value=-float("inf"))
        columns = F.unfold(padded, self.kernel, self.dilation, 0, self.stride)
        return columns.view(len(z), channels, prod(self.kernel), -1)


Affine = Dense | Convolution | Scale | Reshape
Nonlinear = Rectifier | Tanh | MaxPool
Operation = Affine | Add | Nonlinear
