"""The engine that runs work in this process, one piece after the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class LocalEngine:
    """The default `Engine`: torch already uses every core for one piece, so pieces take turns."""

    def map(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        """Yield ``work(piece)`` for each piece, in order, as soon as it is done."""
        return map(work, pieces)
