"""Query patterns: whoever searches for an adversarial, or copies a model point by point, asks nearly the same again and again.

Chen et al. 2020, "Stateful Detection of Black-Box Adversarial Attacks", arXiv:1907.05587, sec. 3: near duplicates among a
client's recent queries are counted. Here distances are taken in a random projection (Johnson and Lindenstrauss), secret and new
with each start; the very same input sent again is no step of a search, and isn't counted. An attacker with many keys, or with
patience, is slowed down and not stopped.
"""

from collections import OrderedDict
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt

from martensite.core.config import Config

WIDTH = 64  # of the projection
REMEMBERED = 4096  # keys
KINDS = 2  # of inputs at a time: a model's, and those of a version that a reload is about to replace


class Queries(Config):
    """How a key's queries are watched.

    Args:
        window: Of its last samples; each new one is compared with all of them.
        near: Root mean square of the difference of two inputs, as a part of the box's width, below which they are near
            duplicates.
        limit: So many near duplicates in the window are an attack.
        then: An attack is said in the answer (``parameters.queries``), or refused with 429 until it has left the window.
    """

    window: PositiveInt = Field(default=1000, le=10_000)
    near: PositiveFloat = 0.05
    limit: PositiveInt = 50
    then: Literal["say", "refuse"] = "say"


class Watch:
    """The recent queries of every key, projected.

    Args:
        settings: What counts.
        shape: Of one input.
        width: Of the box.
        rng: Draws the projection; None: from the system, so that nobody knows it.
    """

    def __init__(self, settings: Queries, shape: tuple[int, ...], width: float, rng: np.random.Generator | None = None) -> None:
        self.settings = settings
        d = int(np.prod(shape))
        chance = rng or np.random.default_rng()
        # E |Px|^2 = |x|^2 / d: distances come out as root mean squares.
        self._project = (chance.standard_normal((d, WIDTH)) / np.sqrt(WIDTH * d) / width).astype(np.float32)
        self._seen: OrderedDict[str, _Window] = OrderedDict()

    def see(self, key: str, x: npt.NDArray[np.float32]) -> int:
        """Note queries (n, *d) of a key; the near duplicates in its window, these included."""
        window = self._seen.get(key)
        if window is None:
            window = self._seen[key] = _Window(self.settings.window)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        for row in x.reshape(len(x), -1) @ self._project:
            window.add(row, self.settings.near)
        return window.count


class Watches:
    """A watch for each kind of input that a model's versions take: a reload may bring one of another shape.

    Args:
        settings: What counts.
    """

    def __init__(self, settings: Queries) -> None:
        self.settings = settings
        self._each: OrderedDict[tuple[tuple[int, ...], float], Watch] = OrderedDict()

    def of(self, shape: tuple[int, ...], width: float) -> Watch:
        """The one of inputs of a shape in a box of a width; which were asked for longest ago is forgotten."""
        kind = (tuple(shape), width)
        if kind not in self._each:
            self._each[kind] = Watch(self.settings, *kind)
        self._each.move_to_end(kind)
        if len(self._each) > KINDS:
            self._each.popitem(last=False)
        return self._each[kind]


class _Window:
    """A ring of projected queries, and which of them had a near neighbour when they came."""

    def __init__(self, size: int) -> None:
        self._rows = np.full((size, WIDTH), np.inf, dtype=np.float32)
        self._near = np.zeros(size, dtype=bool)
        self._next, self.count = 0, 0

    def add(self, row: npt.NDArray[np.float32], near: float) -> None:
        squares = np.square(self._rows - row).sum(1)
        closest = float(squares.min())
        hit = 1e-12 < closest < near * near
        self.count += int(hit) - int(self._near[self._next])
        self._rows[self._next], self._near[self._next] = row, hit
        self._next = (self._next + 1) % len(self._rows)
