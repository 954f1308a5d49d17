"""Models as points: robust accuracy over clean accuracy, and over cost; what no other model beats is filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from martensite.evaluation.rate import Rate
from martensite.reporting.charts import Chart, Key, Size, layers, table
from martensite.reporting.formats import interval, number, percent

SIZE: Size = (340, 300)
KEYS = (Key("hardened dot", "on the Pareto front"), Key("baseline dot", "another model is better"))


@dataclass(frozen=True)
class Point:
    """One model.

    Attributes:
        name: Its.
        clean: Clean accuracy.
        robust: Robust accuracy.
        cost: Of whatever kind the page says; None: not known.
    """

    name: str
    clean: Rate
    robust: Rate
    cost: float | None = None


def pareto_front(points: Sequence[Point], by_cost: bool) -> list[bool]:
    """Whether no other model is at least as good in everything and better in something; cost is a part of it if they say so."""
    known = by_cost and all(point.cost is not None for point in points)
    places = [(point.clean.value, point.robust.value, -(point.cost or 0.0) if known else 0.0) for point in points]
    return [
        not any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in places) for mine in places
    ]


def scatter_charts(points: Sequence[Point], cost_name: str, front: Sequence[bool]) -> tuple[Chart, ...]:
    """Robust over clean accuracy, and robust accuracy over cost where every model's is known."""
    charts = [_chart(points, front, "clean accuracy", [point.clean.value for point in points], percent, "%")]
    costs = [point.cost for point in points if point.cost is not None]
    if len(costs) == len(points):
        charts.append(_chart(points, front, cost_name, costs, number, ""))
    return tuple(charts)


def _chart(points: Sequence[Point], front: Sequence[bool], x_name: str, xs: Sequence[float], shown: Any, axis: str) -> Chart:
    said = ", ".join(
        f"{point.name} {percent(point.robust.value)} at {shown(x)}{' (on the front)' if best else ''}"
        for point, x, best in zip(points, xs, front, strict=True)
    )
    return Chart(
        svg=layers(_layers(points, x_name, xs, front, axis), SIZE),
        legend=() if all(front) else KEYS,
        description=f"Robust accuracy over {x_name}: {said}.",
        head=("model", x_name, "robust accuracy"),
        rows=tuple(
            ((point.name, ""), (shown(x), ""), (percent(point.robust.value), interval(point.robust)))
            for point, x in zip(points, xs, strict=True)
        ),
        title=f"Robust accuracy over {x_name.partition(',')[0]}",
    )


def _layers(points: Sequence[Point], x_name: str, xs: Sequence[float], front: Sequence[bool], axis: str) -> list[Any]:
    import altair as alt

    found: list[Any] = []
    middle = (min(xs) + max(xs)) / 2
    for point, value, best in zip(points, xs, front, strict=True):
        row = {"name": point.name, "x": value, "robust": point.robust.value, "low": point.robust.low, "high": point.robust.high}
        x_axis = alt.Axis(format=axis, tickCount=4) if axis else alt.Axis(tickCount=4)
        x = alt.X("x:Q", title=x_name, axis=x_axis, scale=alt.Scale(zero=False, padding=24))
        y = alt.Y("robust:Q", title="robust accuracy", axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(zero=False))
        base = alt.Chart(table([row])).encode(x=x, y=y)
        color = f"var(--{'hardened' if best else 'baseline'})"
        right = value > middle  # a label stays inside the drawing
        found.append(base.mark_rule(color=color, opacity=0.45, strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q"))
        found.append(
            base.mark_point(size=70, stroke=color, strokeWidth=2, opacity=1, filled=False, fill=color if best else "var(--paper)")
        )
        found.append(
            base.mark_text(
                align="right" if right else "left", dx=-9 if right else 9, dy=-7, color="var(--ink)", fontSize=12
            ).encode(text="name:N")
        )
    return found
