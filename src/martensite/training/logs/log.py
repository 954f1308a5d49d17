"""What a log is: a configuration that opens a writer of events."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.events import Event, Listener, silent
from martensite.core.registry import Registry


class Log(Config):
    """Base of all logs.

    Args:
        to: Where to: a file, a folder or an address, as the backend says.
    """

    kind: str
    to: str

    def opened(self) -> AbstractContextManager[Listener]:
        """The writer of a run's events, which begins anew what an earlier attempt at the same run wrote.

        Raises:
            ConfigError: the backend's package isn't installed.
            StorageError: nothing can be written there.
        """
        raise NotImplementedError(f"{type(self).__name__} must define opened()")


LOGS: Registry[Log] = Registry("log", Log)


def read_log(text: str) -> Log:
    """A log from ``"KIND:TO"``, e.g. ``"csv:runs/training.csv"``.

    Raises:
        ConfigError: no such kind, or nothing to write to.
    """
    kind, _, to = text.partition(":")
    LOGS.get(kind)
    if not to:
        raise ConfigError(f"the log {text!r} says not where to", "KIND:TO is needed", f"e.g. {kind}:runs/log")
    return LOGS.build({"kind": kind, "to": to})


@contextmanager
def following(log: Log | None, past: Iterable[Event]) -> Iterator[Listener]:
    """A writer that has already got the events of the past, as a run that goes on needs."""
    context = nullcontext(silent) if log is None else log.opened()
    with context as write:
        for event in past:
            write(event)
        yield write
