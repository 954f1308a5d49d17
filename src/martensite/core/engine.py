"""Where work runs: the protocol that the local engine and Ray both speak."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Runs independent pieces of work and yields their results in order.

    A piece derives its randomness from sample indices (see `core.rng`), so that every engine gives identical results.
    """

    def map(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        """Yield ``work(piece)`` for each piece, in the order of the pieces."""
        ...
