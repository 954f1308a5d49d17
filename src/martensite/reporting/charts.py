"""Charts as inline SVG: altair draws, vl-convert renders, the page's own CSS colours them.

Every colour in a chart is a CSS custom property, which Vega hands through untouched, so one drawing follows the page from light
to dark and onto paper. Each chart is drawn twice, for wide and for narrow screens, because a scaled-down chart has text that
nobody can read; the stylesheet shows one of the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import vl_convert
from markupsafe import Markup

from martensite.evaluation.report import CurvePoint
from martensite.reporting.formats import number, percent

WIDE, NARROW = (720, 320), (340, 260)
LAYOUT = {
    "autosize": {"type": "fit", "contains": "padding"},
    "padding": {"left": 2, "right": 14, "top": 8, "bottom": 2},
    "background": "transparent",
}
AXIS = {
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titlePadding": 10,
    "labelPadding": 6,
    "domainColor": "var(--rule)",
    "tickColor": "var(--rule)",
    "gridColor": "var(--line)",
    "tickSize": 4,
}
CONFIG = {
    "aria": False,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": AXIS,
    "axisY": {"domain": False, "ticks": False},
}


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


@dataclass(frozen=True)
class Chart:
    """A drawn chart with everything that someone who can't see it needs.

    Attributes:
        svg: The wide and the narrow drawing.
        lines: What is drawn, for legend and data table.
        description: The text alternative.
        x_name: What the horizontal axis shows.
    """

    svg: Markup
    lines: tuple[Line, ...]
    description: str
    x_name: str

    @property
    def table(self) -> list[tuple[float, list[CurvePoint | None]]]:
        """The same figures as rows: each x with one point a line, or None where a line has none."""
        found = [{point.eps: point for point in line.points} for line in self.lines]
        return [(x, [points.get(x) for points in found]) for x in sorted({x for points in found for x in points})]


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
    sizes = {"wide": WIDE, "narrow": NARROW}
    drawn = {name: _draw(_spec(lines, x_name, mark, steps, size)) for name, size in sizes.items()}
    svg = Markup("".join(f'<div class="{name}">{text}</div>' for name, text in drawn.items()))  # Vega escapes its text
    return Chart(svg, tuple(lines), f"{subject}. " + " ".join(_describe(line, x_name) for line in lines), x_name)


def _spec(
    lines: Sequence[Line], x_name: str, mark: tuple[float, str] | None, steps: bool, size: tuple[int, int]
) -> dict[str, Any]:
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
    layers: list[Any] = []
    if mark is not None:
        position = alt.Chart(_rows([{"x": mark[0], "label": mark[1]}])).encode(x=x)
        layers.append(position.mark_rule(color="var(--muted)", strokeDash=[2, 3]))
        layers.append(
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
        base = alt.Chart(_rows(rows)).encode(x=x, y=y)
        color, dashed = f"var(--{line.key})", line.key == "baseline"
        layers.append(
            base.mark_area(color=color, opacity=0.16, interpolate=curve).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
        )
        layers.append(base.mark_line(color=color, strokeWidth=2, strokeDash=[6, 4] if dashed else [1, 0], interpolate=curve))
        layers.append(
            base.mark_point(
                size=42, stroke=color, strokeWidth=2, opacity=1, fill="var(--paper)" if dashed else color, filled=False
            )
        )
    spec: dict[str, Any] = alt.layer(*layers).properties(width=size[0], height=size[1]).to_dict()
    return spec | LAYOUT | {"config": CONFIG}


def _rows(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _draw(spec: dict[str, Any]) -> str:
    return finish(vl_convert.vegalite_to_svg(spec))


def finish(svg: str) -> str:
    """SVG for the inside of an HTML page: no namespaces, no fixed size, nothing for a screen reader to stumble over."""
    svg = re.sub(r' (?:xmlns(?::\w+)?|version|role|aria-[a-z]+)="[^"]*"', "", svg)
    return re.sub(r'<svg class="marks" width="[^"]*" height="[^"]*"', '<svg aria-hidden="true" focusable="false"', svg, count=1)


def _describe(line: Line, x_name: str) -> str:
    figures = ", ".join(f"{percent(point.accuracy.value)} at {number(point.eps)}" for point in line.points)
    return f"{line.label}, by {x_name}: {figures}."
