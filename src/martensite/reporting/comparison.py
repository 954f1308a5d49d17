"""The page of a comparison: clean against robust accuracy, paired tests, costs."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from martensite.evaluation.compare import ComparisonReport
from martensite.evaluation.report import RobustnessReport
from martensite.reporting.charts import CONFIG, LAYOUT, NARROW, WIDE, finish
from martensite.reporting.html import embedded, environment


def render_comparison(report: ComparisonReport) -> str:
    """A whole HTML document, below 1 MiB, that asks nothing of the network."""
    models = list(zip(report.names, report.reports, strict=True))
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            css=Markup(files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")),
            embedded=embedded(report),
            environment=report.reports[0].environment,
            threat=report.reports[0].threat,
            measured=report.reports[0],
            models=models,
            front=pareto_front(report.reports),
            pairs=report.pairs,
            chart=_chart(models),
        )
    )


def pareto_front(reports: Sequence[RobustnessReport]) -> list[bool]:
    """Whether no other report is at least as good in clean and robust accuracy and better in one."""
    points = [(one.clean_accuracy.value, one.robust_accuracy.value) for one in reports]
    return [not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points) for point in points]


def _chart(models: Sequence[tuple[str, RobustnessReport]]) -> Markup:
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "clean": one.clean_accuracy.value,
            "robust": one.robust_accuracy.value,
            "low": one.robust_accuracy.low,
            "high": one.robust_accuracy.high,
        }
        for name, one in models
    ]
    drawn = {"wide": WIDE, "narrow": NARROW}
    return Markup("".join(f'<div class="{name}">{_draw(rows, size)}</div>' for name, size in drawn.items()))


def _draw(rows: list[dict[str, Any]], size: tuple[int, int]) -> str:
    base = alt.Chart(alt.Data(values=rows)).encode(  # type: ignore[no-untyped-call]
        x=alt.X("clean:Q", title="clean accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False, padding=20)),
        y=alt.Y("robust:Q", title="robust accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)),
    )
    layers = (
        base.mark_rule(color="var(--hardened)", opacity=0.4).encode(y=alt.Y("low:Q", title="robust accuracy"), y2="high:Q"),
        base.mark_point(size=60, filled=True, color="var(--hardened)", opacity=1),
        base.mark_text(align="left", dx=8, dy=-6, color="var(--ink)", fontSize=12).encode(text="name:N"),
    )
    spec: dict[str, Any] = alt.layer(*layers).properties(width=size[0], height=size[1]).to_dict()
    return finish(vl_convert.vegalite_to_svg(spec | LAYOUT | {"config": CONFIG}))
