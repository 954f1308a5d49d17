"""CSV: one row an event, one column a figure."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from martensite.core.events import Event, Listener
from martensite.core.files import write_text
from martensite.training.logs.log import LOGS, Log

FIRST = ("stage", "unit", "done", "total", "message")


@LOGS.register
class CSVLog(Log):
    """A CSV file that is whole after every event; ``to`` is its path."""

    kind: Literal["csv"] = "csv"

    @contextmanager
    def opened(self) -> Iterator[Listener]:
        """See `Log.opened`; the table is there from the start, so that a place that can't be written to is known before work."""
        events: list[Event] = []
        write_text(Path(self.to), _table(events))

        def write(event: Event) -> None:
            events.append(event)
            write_text(Path(self.to), _table(events))

        yield write


def _table(events: list[Event]) -> str:
    figures = list(dict.fromkeys(name for event in events for name in event.metrics))
    text = io.StringIO()
    table = csv.DictWriter(text, [*FIRST, *figures], restval="", lineterminator="\n")
    table.writeheader()
    for event in events:
        table.writerow({name: getattr(event, name) for name in FIRST} | dict(event.metrics))
    return text.getvalue()
