"""A server's record as text for a terminal. Names in it come from outside: what isn't printable never reaches the terminal."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from math import ceil, isfinite

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from martensite.serving.monitoring.snapshot import Alert, DriftTest, Model, Snapshot, Version
from martensite.serving.monitoring.standing import ago

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "": "dim"}
LEVELS, PLAIN = "▁▂▃▄▅▆▇█", ".:-=+*#@"
NONE = "-"
CAUGHT, ALERTS, CLASSES = 6, 5, 20  # that are shown


def view(record: Snapshot, url: str, live: str = "", trouble: str = "") -> RenderableType:
    """Everything in the record.

    Args:
        record: To show.
        url: Where it is from.
        live: Said beside the time; ``""``: it is one picture.
        trouble: Why the record is old; ``""``: it isn't.
    """
    head = Table.grid(expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    state = Text(f"NOT LIVE: {clean(trouble)}", "bold red") if trouble else Text(live, "green")
    seen = Text(f"  {clock(record.time)}, up since {clock(record.started)}", "dim")
    head.add_row(Text.assemble(("Martensite monitor ", "bold"), clean(url)), state + seen)
    shown = [part for model in record.models for part in _model(model, record)]
    return Group(head, *(Padding(part, (1, 0, 0, 0)) for part in shown))


def _model(model: Model, record: Snapshot) -> Iterator[RenderableType]:
    standing = model.standing
    version = next((one for one in model.versions if one.route == "primary"), None)
    title = Text.assemble((clean(model.name), "bold"), f" version {clean(version.version)}" if version else "", "   ")
    title.append(standing.word.upper(), f"bold {COLOURS[standing.tone]}")
    reasons = Table.grid(padding=(0, 2))
    for reason in standing.reasons:
        reasons.add_row(Text(reason.mark, COLOURS[reason.tone]), reason.title, Text(clean(reason.text), "dim"))
    yield Group(title, Text(clean(standing.lead)))
    yield reasons
    yield _figures(model, version)
    for one in model.versions:
        yield from _version(one, record.time, len(model.versions) > 1)
    alerts = [one for one in record.alerts if one.model in ("", model.name)][:ALERTS]
    if alerts:
        yield _alerts(alerts)


def _figures(model: Model, version: Version | None) -> Table:
    traffic, alarms = model.traffic, version.alarms if version is not None else None
    asked = traffic.requests_per_second
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(no_wrap=True, min_width=8, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    batch = "" if traffic.batch is None else f", {traffic.batch:.1f} a batch"
    samples = f"{rate(traffic.samples_per_second)} samples/s{batch}, queue {traffic.queued}"
    wrong = f"{percent(traffic.errors_per_second / asked if asked else None)} of requests"
    rows: list[tuple[str, str, Sequence[float], str]] = [
        ("Requests", f"{rate(asked)}/s", traffic.history, samples),
        ("Errors", f"{rate(traffic.errors_per_second)}/s", traffic.errors_history, wrong),
        ("Latency, p99", duration(traffic.p99), (), f"median {duration(traffic.p50)}"),
    ]
    if alarms is not None and version is not None:
        if alarms.detects:
            rows.append(("Flagged", percent(alarms.share), alarms.flagged_history, f"{alarms.flagged:,} in all"))
        rows.append(("Confidence", percent(version.confidence), (), "mean of the last minute"))
    for label, value, history, beside in rows:
        table.add_row(label, Text(value, "bold"), Spark(history), Text(beside, "dim"))
    return table


def _version(version: Version, now: float, several: bool) -> Iterator[RenderableType]:
    if several:
        said = f"{version.route.capitalize()} {clean(version.version)}"
        yield Text.assemble((said, "bold"), f" {version.state} since {ago(version.since, now)}")
    if version.drift.tests:
        yield _drift(version.drift.tests, now)
    if total := sum(version.predictions):
        yield _predictions(version, total)
    if version.flagged:
        yield _caught(version)


def _predictions(version: Version, total: int) -> Text:
    shares = list(zip(version.classes, version.predictions, strict=True))
    if len(shares) > CLASSES:
        shares = sorted(shares, key=lambda one: -one[1])[:CLASSES]
    said = Text("Predictions  ", "bold")
    for name, n in shares:
        said.append(f"{clean(name)} ", "not bold").append(f"{percent(n / total)}  ", "not bold dim")
    return said


def _drift(tests: Sequence[DriftTest], now: float) -> Table:
    table = _table("Drift", "", "statistic", "threshold", "p", "over its threshold")
    for column in (2, 3, 4):
        table.columns[column].justify = "right"
    for one in tests:
        word = "ALARM" if one.alarm else "WAITS" if one.statistic is None else "CALM"
        colour = {"ALARM": "red", "WAITS": "dim", "CALM": "green"}[word]
        when = f" {ago(one.since, now)}" if one.alarm and one.since is not None else ""
        what = Text.assemble(f"{clean(one.about)} ", (f"{one.name}{f', {clean(one.detail)}' if one.detail else ''}{when}", "dim"))
        figures = (number(one.statistic), number(one.threshold), number(one.p_value))
        table.add_row(what, Text(word, colour), *figures, Spark([value or 0.0 for value in one.history], top=2.0))
    return table


def _caught(version: Version) -> Table:
    table = _table("Flagged", "class", "confidence", "p", "decision", "key", "request")
    for column in (2, 3):
        table.columns[column].justify = "right"
    for one in version.flagged[:CAUGHT]:
        name = version.classes[one.prediction] if 0 <= one.prediction < len(version.classes) else NONE
        figures, whose = (percent(one.confidence), number(one.p_value)), (one.decision, one.key, f"{one.id} #{one.row}")
        table.add_row(*[Text(clean(cell)) for cell in (clock(one.time), name, *figures, *whose)])
    return table


def _alerts(alerts: Sequence[Alert]) -> Table:
    table = _table("Alerts", "", "", "")
    for one in alerts:
        colour = "red" if one.status == "firing" else "green"
        said = " ".join(part for part in (one.summary, one.outcome) if part)
        table.add_row(clock(one.time), Text(clean(one.status), colour), Text(clean(one.name)), Text(clean(said), "dim"))
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, name in enumerate(names):
        table.add_column(Text(name, "bold" if place == 0 else "dim"))
    return table


class Spark:
    """Numbers as a line of columns, as wide as there is room for.

    Args:
        values: Oldest first.
        top: Of the scale; None: the largest.
    """

    def __init__(self, values: Sequence[float], top: float | None = None) -> None:
        self._values, self._top = values, top

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, 30, len(self._values))
        if not width:
            yield Text("")
            return
        levels = PLAIN if options.ascii_only else LEVELS
        bounds = [round(place * len(self._values) / width) for place in range(width + 1)]
        parts = [max(self._values[start:stop]) for start, stop in pairwise(bounds)]
        top = self._top or max(parts) or 1.0
        line = "".join(levels[min(ceil(one / top * len(levels)), len(levels)) - 1] if one > 0 else " " for one in parts)
        yield Text(line, "blue", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(30, len(self._values))
        return Measurement(min(width, 8), width)


def clean(text: str) -> str:
    """With a mark in place of what isn't printable: no name from outside moves the cursor, or turns the line around."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def rate(value: float) -> str:
    """Three digits."""
    if 0 < value < 0.01:
        return "<0.01"
    return "0" if value == 0 else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share; what is not all is never written as 100%, nor what is not nothing as 0%."""
    if value is None or not isfinite(value):
        return NONE
    text = f"{value:.1%}"
    return ">99.9%" if text == "100.0%" and value < 1 else "<0.1%" if text == "0.0%" and value > 0 else text


def number(value: float | None) -> str:
    """Three digits."""
    return NONE if value is None or not isfinite(value) else f"{value + 0.0:.3g}"


def duration(seconds: float | None) -> str:
    """In milliseconds below one second."""
    return NONE if seconds is None else f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def clock(moment: float) -> str:
    """A time of today, or a day and a time."""
    then = datetime.fromtimestamp(moment)
    return f"{then:%H:%M:%S}" if then.date() == datetime.now().date() else f"{then:%Y-%m-%d %H:%M}"
