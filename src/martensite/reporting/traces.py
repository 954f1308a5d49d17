"""Loss over steps, a small chart a search: one that still rises at its end was stopped too early."""

from collections.abc import Sequence
from typing import Any

from martensite.evaluation.traces import LossTrace
from martensite.reporting.charts import SMALL, Chart, Key, layers, table
from martensite.reporting.formats import NOTHING, count, number, percent

MOST = 12  # charts on a page
NAMES = {"ce": "cross-entropy", "margin": "margin", "dlr": "difference of logits ratio", "logit": "logit", "odds": "log odds"}
SHOWN = 12  # rows of the table

Named = tuple[str, str, LossTrace]  # key and label of the model, its trace


def trace_charts(models: Sequence[tuple[str, str, Sequence[LossTrace]]]) -> tuple[Chart, ...]:
    """One chart for each search, with a line a model.

    Args:
        models: Key (``"baseline"`` or ``"hardened"``), label and traces of each.
    """
    found: dict[tuple[str, str, str, int], list[Named]] = {}
    for key, label, traces in models:
        names = [(one.attack, one.search, one.loss) for one in traces]
        for place, one in enumerate(traces):
            found.setdefault((*names[place], names[:place].count(names[place])), []).append((key, label, one))
    return tuple(_chart(same) for same in list(found.values())[:MOST])


def _chart(same: list[Named]) -> Chart:
    first = same[0][2]
    loss = NAMES.get(first.loss, first.loss)
    title = first.attack if first.search == first.attack.partition("(")[0] else f"{first.attack}: {first.search}"
    return Chart(
        svg=layers(_layers(same, loss), SMALL),
        legend=tuple(Key(key, label) for key, label, _ in same),
        description=f"Mean {loss} over the steps of {title}. " + " ".join(_describe(label, one) for _, label, one in same),
        head=("step", *(f"{label}: mean {loss}" for _, label, _ in same), *(f"{label}: not yet broken" for _, label, _ in same)),
        rows=tuple(_rows([one for _, _, one in same])),
        title=title,
    )


def _layers(same: list[Named], loss: str) -> list[Any]:
    import altair as alt

    found: list[Any] = []
    for key, _, trace in same:
        rows = [{"step": step, "loss": mean} for step, mean in zip(trace.steps, trace.mean, strict=True)]
        x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=4, grid=False, labelFlush=False))
        y = alt.Y("loss:Q", title=f"mean {loss}", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=4))
        dash = [6, 4] if key == "baseline" else [1, 0]
        found.append(alt.Chart(table(rows)).encode(x=x, y=y).mark_line(color=f"var(--{key})", strokeWidth=2, strokeDash=dash))
    return found


def _describe(label: str, trace: LossTrace) -> str:
    """Where it began, where it ended, and whether it still rose there."""
    return (
        f"{label}: {number(trace.mean[0])} at step {trace.steps[0]}, {number(max(trace.mean))} at most, "
        f"{number(trace.mean[-1])} at step {trace.steps[-1]}; of {count(trace.samples)} samples {percent(trace.left[-1])} were "
        "not broken by then."
    )


def _rows(traces: Sequence[LossTrace]) -> list[tuple[tuple[str, str], ...]]:
    """A dozen steps of the longest, evenly spread, with the last."""
    longest = max((trace.steps for trace in traces), key=len)
    stride = max(1, -(-len(longest) // SHOWN))
    steps = sorted({*longest[::stride], longest[-1]})
    at = [{step: place for place, step in enumerate(trace.steps)} for trace in traces]
    made = []
    for step in steps:
        means, shares = [], []
        for trace, places in zip(traces, at, strict=True):
            place = places.get(step)
            means.append(NOTHING if place is None else (number(trace.mean[place]), ""))
            shares.append(NOTHING if place is None else (percent(trace.left[place]), ""))
        made.append(((str(step), ""), *means, *shares))
    return made
