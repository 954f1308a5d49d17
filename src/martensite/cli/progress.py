"""Draws events: a live line on a terminal, a plain line now and then elsewhere. Always on stderr."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from martensite.core.events import Event

PATIENCE = 5.0  # seconds between two lines where there is no terminal


class Display:
    """A listener to use as a context manager.

    Args:
        quiet: Show nothing (for ``--json``).
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self._live = self.console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("[bold]{task.description:<9}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[count]:>14}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._spoke = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        figures = "  ".join(f"{name} {_shown(value)}" for name, value in event.metrics.items())
        count = f"{event.done}/{event.total} {event.unit}" if event.unit else ""
        if self._live:
            self._draw(event, count, figures)
        elif time.monotonic() - self._spoke > PATIENCE or event.message:
            self._spoke = time.monotonic()
            line = " ".join(part for part in (event.stage, count, figures, event.message) if part)
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _draw(self, event: Event, count: str, figures: str) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, count="", figures="")
        task = self._tasks[event.stage]
        fields: dict[str, Any] = (
            {"count": count, "figures": "  ".join(part for part in (figures, event.message) if part)}
            if event.unit or event.message
            else {}
        )
        if event.unit == "" and event.total == 0:
            self._progress.update(task, total=None, **fields)
            return
        if event.unit == "":  # the stage is over: keep its last figures
            total = self._progress.tasks[task].total or 1
            self._progress.update(task, total=total, completed=total)
            return
        self._progress.update(task, total=event.total, completed=event.done, **fields)


def _shown(value: float) -> str:
    """A rate or a loss with decimals, a count of two and more without."""
    return f"{value:.0f}" if value >= 2 and value == int(value) else f"{value:.3f}"


def show(text: object) -> None:
    """Print for people, on stdout. Only tables are fitted to the width: a path broken in two can't be copied."""
    Console(file=sys.stdout, highlight=False, emoji=False).print(text, soft_wrap=isinstance(text, str))


def warn(text: object) -> None:
    """Say on stderr what a person should know and no program reads, also beside ``--json``."""
    Console(file=sys.stderr, highlight=False, emoji=False).print(f"[yellow]warning[/] {plain(text)}", soft_wrap=True)


def plain(text: object) -> str:
    """Text in which square brackets are no markup."""
    return escape(str(text))
