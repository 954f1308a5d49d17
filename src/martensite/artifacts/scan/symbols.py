"""What the stack of a pickle holds when nothing is loaded: names and small constants, and "unknown" for all else."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """Something that the pickle imports: ``module.name``."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Made:
    """What a call of an imported thing returned; ``arguments`` where they were simple."""

    by: Global
    arguments: Any


class Sign:
    """A value of which only one thing is known."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


MARK = Sign("a mark")
UNKNOWN = Sign("something computed")
BLOB = Sign("bytes")
TEXT = Sign("a long text")
COLLECTION = Sign("a collection")


@dataclass(slots=True)
class State:
    """A small dict with text keys, as the state of an object.

    Attributes:
        items: Those that are known.
        certain: Whether no other key or value can be in it.
    """

    items: dict[str, Any]
    certain: bool = True
