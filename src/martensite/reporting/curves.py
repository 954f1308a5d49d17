"""Accuracy over eps, or over a certified radius, with its intervals as bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from martensite.evaluation.report import CertificationReport, CurvePoint
from martensite.reporting.charts import SMALL, WIDE, Chart, Key, Size, layers, table, wide_and_narrow
from martensite.reporting.formats import NOTHING, interval, number, percent
from martensite.reporting.words import norm_name, radius_unit

TOLD = 7  # points of a curve that its text alternative names; the table has all of them
MARKED = 16  # points that are marked; more of them would hide the line


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        key: ``"baseline"`` or ``"hardened"``: names colour, dash and marker in chart and legend.
        label: What the legend says.
        points: At least one.
    """

    key: str
    label: str
    points: tuple[CurvePoint, ...]


def accuracy_curve(
    lines: Sequence[Line], *, subject: str, x_name: str, mark: tuple[float, str] | None = None, steps: bool = False
) -> Chart:
    """Accuracy over eps or radius, with the interval as a band.

    Args:
        lines: The curves; each needs a point.
        subject: What the chart shows, opening the text alternative.
        x_name: Title of the horizontal axis.
        mark: A position on it that matters, with its label.
        steps: Draw the steps that measured points prove, rather than straight lines between them.
    """
    confidence = f"{100 * lines[0].points[0].accuracy.confidence:g}% interval"
    return Chart(
        svg=wide_and_narrow(lambda size: _layers(lines, x_name, mark, steps, size)),
        legend=(*(Key(line.key, line.label) for line in lines), Key("band", confidence)),
        description=f"{subject}. " + " ".join(_describe(line, x_name) for line in lines),
        head=(x_name, *(line.label for line in lines)),
        rows=tuple(_rows(lines)),
    )


def small_curve(lines: Sequence[Line], norm: str) -> Chart:
    """Accuracy over eps in one of several norms, as one drawing."""
    x_name = f"eps ({norm})"
    return Chart(
        svg=layers(_layers(lines, x_name, None, False, SMALL), SMALL),
        legend=tuple(Key(line.key, line.label) for line in lines),
        description=f"Accuracy in {norm}. " + " ".join(_describe(line, x_name) for line in lines),
        head=(x_name, *(line.label for line in lines)),
        rows=tuple(_rows(lines)),
        title=norm,
    )


def certified_curve(certification: CertificationReport, label: str) -> Chart | None:
    """The certified-accuracy curve; None where nothing was certified: there is nothing to draw."""
    if not any(point.eps > 0 for point in certification.certified):
        return None
    return accuracy_curve(
        [Line("hardened", label, certification.certified)],
        subject="Certified accuracy as the radius grows",
        x_name=f"radius ({norm_name(certification.norm)}, {radius_unit(certification.norm)})",
        steps=True,
    )


def _rows(lines: Sequence[Line]) -> list[tuple[tuple[str, str], ...]]:
    """Each x with one figure a line, or a dash where a line has none."""
    found = [{point.eps: point.accuracy for point in line.points} for line in lines]
    made = []
    for x in sorted({x for points in found for x in points}):
        rates = [points.get(x) for points in found]
        made.append(((number(x), ""), *(NOTHING if rate is None else (percent(rate.value), interval(rate)) for rate in rates)))
    return made


def _layers(lines: Sequence[Line], x_name: str, mark: tuple[float, str] | None, steps: bool, size: Size) -> list[Any]:
    import altair as alt

    wide = size == WIDE
    x = alt.X(
        "x:Q",
        title=x_name,
        scale=alt.Scale(nice=False, zero=True),
        axis=alt.Axis(tickCount=8 if wide else 4, grid=False, labelFlush=False),
    )
    y = alt.Y(
        "value:Q",
        title=None,
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format="%"),
    )
    found: list[Any] = []
    if mark is not None:
        position = alt.Chart(table([{"x": mark[0], "label": mark[1]}])).encode(x=x)
        found.append(position.mark_rule(color="var(--muted)", strokeDash=[2, 3]))
        found.append(
            position.mark_text(align="left", baseline="top", dx=5, dy=2, color="var(--muted)", fontSize=12).encode(
                text="label:N", y=alt.value(0)
            )
        )
    curve: Literal["step-before", "linear"] = "step-before" if steps else "linear"
    for line in lines:
        rows = [
            {"x": point.eps, "value": point.accuracy.value, "low": point.accuracy.low, "high": point.accuracy.high}
            for point in sorted(line.points, key=lambda point: point.eps)
        ]
        base = alt.Chart(table(rows)).encode(x=x, y=y)
        color, dashed = f"var(--{line.key})", line.key == "baseline"
        found.append(
            base.mark_area(color=color, opacity=0.16, interpolate=curve).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
        )
        found.append(base.mark_line(color=color, strokeWidth=2, strokeDash=[6, 4] if dashed else [1, 0], interpolate=curve))
        if len(rows) <= MARKED:
            found.append(
                base.mark_point(
                    size=42, stroke=color, strokeWidth=2, opacity=1, fill="var(--paper)" if dashed else color, filled=False
                )
            )
    return found


def _describe(line: Line, x_name: str) -> str:
    last = len(line.points) - 1
    told = sorted({round(place * last / (TOLD - 1)) for place in range(TOLD)})
    figures = ", ".join(f"{percent(line.points[place].accuracy.value)} at {number(line.points[place].eps)}" for place in told)
    return f"{line.label}, by {x_name}: {figures}."
