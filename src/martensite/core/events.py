"""Progress as data: rooms emit events, only the command line draws them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Something that a watcher of a run may want to show.

    Attributes:
        stage: What is running, e.g. ``"harden"``.
        done: Units finished.
        total: Units in all; 0 if not known.
        unit: What is counted, e.g. ``"epoch"``.
        metrics: Current figures by name, e.g. ``{"loss": 0.3, "robust": 0.71}``.
        message: A line worth keeping in a log; empty for a mere tick.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that listens to nothing."""
