"""What attacks on patches and pixels see in an input of any shape: positions in rows and columns, each with a value a channel.

    image (c, h, w)     h x w positions of c channels
    sequence (t, d)     one row of t positions (times) of d channels
    table (d,)          one row of d positions of one channel
    more axes           the first are the channels, the last the columns, those between them the rows

Square's squares are runs of positions where there is one row.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Grid(NamedTuple):
    """The positions of an input, and where their values lie once it is flattened.

    Attributes:
        channels: Values a position.
        height: Rows.
        width: Columns.
        steps: How far the next channel, row and column lie in the flattened input.
    """

    channels: int
    height: int
    width: int
    steps: tuple[int, int, int]

    @classmethod
    def of(cls, x: Tensor) -> "Grid":
        """The grid of inputs x (n, *d)."""
        shape = x.shape[1:]
        if len(shape) == 1:
            return cls(1, 1, shape[0], (0, 0, 1))
        if len(shape) == 2:
            return cls(shape[1], 1, shape[0], (1, 0, shape[1]))
        height, width = shape[1:-1].numel(), shape[-1]
        return cls(shape[0], height, width, (height * width, width, 1))

    @property
    def positions(self) -> int:
        """How many there are."""
        return self.height * self.width

    def sides(self, share: float, least: int = 1) -> tuple[int, int]:
        """Height and width of a square that covers that share of the positions; of a run, where there is one row."""
        if self.height == 1:
            return 1, min(max(round(share * self.width), least), self.width)
        side = max(round((share * self.positions) ** 0.5), least)
        return min(side, self.height), min(side, self.width)

    def window(self, tall: int, wide: int, device: torch.device) -> Tensor:
        """int64 (channels, tall * wide): where the values of the first window of this size lie, row by row."""
        channel, row, column = (
            torch.arange(count, device=device) * step for count, step in zip((self.channels, tall, wide), self.steps, strict=True)
        )
        return (channel[:, None, None] + row[:, None] + column).flatten(1)

    def corner(self, unit: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
        """int64 (...): how far a window's values lie behind those of the first one, for windows anywhere inside.

        Args:
            unit: (..., 2) uniform in [0, 1).
            tall: Height of the windows, broadcast against (...).
            wide: Their width.
        """
        top = (unit[..., 0] * (self.height - tall + 1)).long()
        left = (unit[..., 1] * (self.width - wide + 1)).long()
        return top * self.steps[1] + left * self.steps[2]

    def pixels(self, position: Tensor) -> Tensor:
        """int64 (..., channels): where the values of positions (...), counted row by row, lie."""
        first = position // self.width * self.steps[1] + position % self.width * self.steps[2]
        return first[..., None] + torch.arange(self.channels, device=position.device) * self.steps[0]

    def flat(self, values: Tensor) -> Tensor:
        """(n, size) flattened inputs that hold values (n, channels, height, width)."""
        where = self.window(self.height, self.width, values.device).flatten().expand(len(values), -1)
        return torch.zeros_like(where, dtype=values.dtype).scatter_(1, where, values.flatten(1))
