"""Rows of linear functions of a node's value, whole or as windows of images.

A row that begins at one entry behind a convolution looks at a small window of the image before it, and everywhere else is zero
(Xu et al. 2020, arXiv:2002.12920, appendix, "patches"). All windows of a batch of rows have one size and lie on one grid, so that
what a row must be multiplied with is cut out once for the whole grid and then picked by place.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from martensite.certification.bounds.operations import Convolution, Pair

MATRIX = 1_000_000  # entries of a convolution on a window, written out
WIDE = 0.5  # of the image: larger windows aren't worth their book-keeping


@dataclass(frozen=True)
class Window:
    """Where windows lie: that of the grid's place (i, j) begins at (i, j) * stride - padding.

    Attributes:
        grid: Places along height and width.
        size: Of a window.
        stride: Between neighbours.
        padding: How far the first reaches beyond the border.
    """

    grid: Pair
    size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def cut(self, images: Tensor) -> Tensor:
        """(B, places, C, h, w) what the windows show of images (B, C, H, W); zero beyond the border."""
        borders: list[int] = []
        for axis in (1, 0):
            reach = (self.grid[axis] - 1) * self.stride[axis] + self.size[axis] - self.padding[axis]
            borders += [self.padding[axis], reach - images.shape[2 + axis]]
        columns = F.unfold(F.pad(images, borders), self.size, stride=self.stride)
        return columns.transpose(1, 2).reshape(len(images), -1, images.shape[1], *self.size)

    def before(self, op: Convolution) -> "Window":
        """The windows before a convolution that windows of its outputs depend on."""
        size, stride, padding = [], [], []
        for axis in (0, 1):
            reach = op.dilation[axis] * (op.weight.shape[2 + axis] - 1) + 1
            size.append((self.size[axis] - 1) * op.stride[axis] + reach)
            stride.append(self.stride[axis] * op.stride[axis])
            padding.append(self.padding[axis] * op.stride[axis] + op.padding[axis])
        return Window(self.grid, (size[0], size[1]), (stride[0], stride[1]), (padding[0], padding[1]))


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that go backward together.

    Attributes:
        a: (P, *d) coefficients of a node's value, or (P, C, h, w) of a window of it, which are zero beyond the border.
        owner: (P,) the sample that each row belongs to.
        window: Where windows lie; None: the rows are whole.
        place: (P,) each row's place on the windows' grid.
    """

    a: Tensor
    owner: Tensor
    window: Window | None = None
    place: Tensor | None = None

    def at(self, values: Tensor) -> Tensor:
        """What each row is multiplied with, of values (B, *d), one a sample: the shape of `a`."""
        return values[self.owner] if self.window is None else self.window.cut(values)[self.owner, self.place]

    @property
    def size(self) -> Tensor:
        """(P,) sums of absolute values."""
        return self.a.detach().flatten(1).abs().sum(1)

    def before(self, op: Convolution) -> "Rows":
        """Rows before a convolution."""
        height, width = op.image[1:]
        window = None if self.window is None else self.window.before(op)
        if window is None or window.size[0] * window.size[1] > WIDE * height * width:
            return Rows(op.transpose(self.whole((len(op.weight), *op.sides)).a), self.owner)
        a = _transposed(op, self.a)
        inside = window.cut(a.new_ones(1, 1, height, width))[0]
        return Rows(a * inside[self.place], self.owner, window, self.place)

    def whole(self, shape: tuple[int, ...]) -> "Rows":
        """The same rows over all of a node's value, whose shape this is."""
        if self.window is None or self.place is None:
            return self
        (channels, height, width), window = shape, self.window
        tall, wide = (
            max((window.grid[axis] - 1) * window.stride[axis] + window.size[axis], shape[1 + axis] + window.padding[axis])
            for axis in (0, 1)
        )
        rows = torch.arange(window.size[0], device=self.a.device)[:, None]
        columns = torch.arange(window.size[1], device=self.a.device)
        corner = self.place // window.grid[1] * window.stride[0] * wide + self.place % window.grid[1] * window.stride[1]
        index = (corner[:, None] + (rows * wide + columns).flatten())[:, None].expand(-1, channels, -1)
        laid = self.a.new_zeros(len(self.a), channels, tall * wide).scatter_(2, index, self.a.flatten(2))
        top, left = window.padding
        whole = laid.view(-1, channels, tall, wide)[:, :, top : top + height, left : left + width]
        return Rows(whole.contiguous(), self.owner)

    def negated(self) -> "Rows":
        """Rows of the negatives."""
        return replace(self, a=-self.a)


def _transposed(op: Convolution, a: Tensor) -> Tensor:
    """a W of windows (P, C, h, w), without a border; as one matrix product where windows are small, which is a lot faster."""
    entries = a[0].numel()
    reach = [
        (a.shape[2 + axis] - 1) * op.stride[axis] + op.dilation[axis] * (op.weight.shape[2 + axis] - 1) + 1 for axis in (0, 1)
    ]
    small = entries * op.image[0] * reach[0] * reach[1] <= MATRIX and len(a) > entries
    start = torch.eye(entries, dtype=a.dtype, device=a.device).view(entries, *a.shape[1:]) if small else a
    through = F.conv_transpose2d(start, op.weight, None, op.stride, 0, 0, op.groups, op.dilation)
    return (a.flatten(1) @ through.flatten(1)).view(len(a), *through.shape[1:]) if small else through


def picking(neurons: Tensor, shape: tuple[int, ...], owner: Tensor, windowed: bool) -> Rows:
    """Rows that pick single entries of a node's value, counted along its flattened shape; as 1 x 1 windows of an image."""
    if windowed:
        area = shape[1] * shape[2]
        a = torch.zeros(len(neurons), shape[0], dtype=torch.float64, device=neurons.device)
        a.scatter_(1, (neurons // area)[:, None], 1.0)
        return Rows(a[:, :, None, None], owner, Window((shape[1], shape[2]), (1, 1)), neurons % area)
    a = torch.zeros(len(neurons), int(torch.Size(shape).numel()), dtype=torch.float64, device=neurons.device)
    return Rows(a.scatter_(1, neurons[:, None], 1.0).view(-1, *shape), owner)
