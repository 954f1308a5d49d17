"""The squares that Square for Linf draws: where each lies, and which corner of the ball it takes; and what its norms share.

Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049, algorithm 2.
"""

import torch
from torch import Tensor

from martensite.attacks.grid import Grid
from martensite.attacks.survivors import Survivors
from martensite.models.windows import Known


class Squares:
    """Squares drawn for each survivor, in the order of its queries.

    Attributes:
        grid: Of the input.
        sides: Height and width of each, the largest first.
        count: How many for each.
        place: int64 (m, count) how far each lies behind the first one of its size.
        upper: bool (m, count, channels) which corner of the ball each takes.
    """

    def __init__(self, search: Survivors, grid: Grid, sides: list[tuple[int, int]]) -> None:
        self.grid, self.sides = grid, sides
        draws, device = search.rng.uniform((len(sides), 2 + grid.channels)), search.x.device
        tall, wide = torch.tensor(sides, device=device).unbind(1)
        self.count, self.place, self.upper = len(sides), grid.corner(draws[..., :2], tall, wide), draws[..., 2:] < 0.5
        sizes = list(dict.fromkeys(sides))
        self._size = torch.tensor([sizes.index(side) for side in sides], device=device)
        self._windows = [grid.window(*side, device) for side in sizes]

    def at(self, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Where the values of each survivor's squares with the numbers ``turns`` (m, k) lie, and which corner they take.

        Returns int64 (m, k, channels, area) places in the flattened input, and bool (m, k, channels, 1), True for the upper one.
        Among squares of several sizes the smaller ones name their first values as often as fills their area.
        """
        size = self._size[turns]
        first, last = (int(extreme) for extreme in size.aminmax())
        windows = self._windows[first]
        if last > first:
            windows = torch.stack([_padded(window, windows.shape[1]) for window in self._windows[first : last + 1]])[size - first]
        where = self.place.gather(1, turns)[..., None, None] + windows
        return where, self.upper.gather(1, turns[..., None].expand(-1, -1, self.upper.shape[2]))[..., None]


def places_in(known: Known, grid: Grid, place: Tensor, sides: list[tuple[int, int]]) -> Tensor:
    """int64 (m, count, p) where windows lie in what is kept of points; ``place`` (m, count) is how far behind the first ones."""
    width = grid.steps[1]
    return known.places(torch.stack([place // width, place % width], dim=-1), sides)


def _padded(window: Tensor, area: int) -> Tensor:
    """A window (channels, less) that names its first value again and again, (channels, area)."""
    return torch.cat([window, window[:, :1].expand(-1, area - window.shape[1])], dim=1)
