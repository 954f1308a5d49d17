"""The picture of a sweep: clean against robust accuracy, a mark a point, its size the cost; a file that stands by itself."""

from typing import Any

import vl_convert

from martensite.evaluation.report import Rate
from martensite.training.sweep import SweepResult

SIZE = (640, 400)
# Kinds of points, from the ones that matter to the ones that don't.
CHOSEN, FRONT, FINISHED, STOPPED, START = "chosen", "Pareto front", "trained to the end", "stopped early", "before hardening"
COLOURS = {CHOSEN: "#c2410c", FRONT: "#1d4ed8", FINISHED: "#64748b", STOPPED: "#cbd5e1", START: "#111827"}
SHAPES = {CHOSEN: "diamond", FRONT: "circle", FINISHED: "circle", STOPPED: "circle", START: "cross"}


def pareto_chart(result: SweepResult, min_clean: float | None = None) -> str:
    """SVG of a sweep.

    Args:
        result: The sweep.
        min_clean: The floor, drawn as a line.
    """
    import altair as alt

    rows = [_row("", *result.start, 0.0, START, result.samples)]
    for place, outcome in enumerate(result.outcomes):
        if not outcome.failure:
            rows.append(
                _row(str(outcome.point), outcome.clean, outcome.robust, outcome.cost, _kind(result, place), result.samples)
            )
    kinds = [kind for kind in COLOURS if any(row["kind"] == kind for row in rows)]
    x = alt.X("clean:Q", title="clean accuracy", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(format="%"))
    y = alt.Y("robust:Q", title="robust accuracy", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(format="%"))
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds, range=[COLOURS[kind] for kind in kinds]))
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in kinds]))
    size = alt.Size("cost:Q", title="cost, standard epochs", scale=alt.Scale(range=[50, 400]))
    base = alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]
    layers: list[Any] = [
        base.mark_rule(opacity=0.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        base.mark_point(filled=True, opacity=0.95).encode(x=x, y=y, color=colour, shape=shape, size=size),
        base.mark_text(align="right", dx=-12, fontSize=11, color="#334155").encode(x=x, y=y, text="label:N"),
    ]
    if min_clean is not None:
        floor = alt.Chart(alt.Data(values=[{"clean": min_clean}]))  # type: ignore[no-untyped-call]
        layers.insert(0, floor.mark_rule(color="#c2410c", strokeDash=[4, 3]).encode(x=x))
    title = f"Sweep on {result.samples} validation samples; bars are 95 % intervals"
    chart = alt.layer(*layers).properties(width=SIZE[0], height=SIZE[1], title=title, background="white")
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def _kind(result: SweepResult, place: int) -> str:
    if place == result.chosen:
        return CHOSEN
    if place in result.front:
        return FRONT
    return STOPPED if result.outcomes[place].stopped else FINISHED


def _row(label: str, clean: float, robust: float, cost: float, kind: str, n: int) -> dict[str, Any]:
    rate = Rate.of(round(robust * n), n)
    named = label if kind in (CHOSEN, FRONT) else ""
    figures = {"clean": clean, "robust": robust, "low": rate.low, "high": rate.high, "cost": cost}
    return {"label": named, **figures, "kind": kind}
