"""The page of a comparison: clean and robust accuracy and cost, paired tests, attack by attack."""

from collections.abc import Iterator

from martensite.evaluation.compare import ComparisonReport
from martensite.reporting.commands import evaluate_command
from martensite.reporting.formats import p_value, percent, points
from martensite.reporting.html import Model, attack_table
from martensite.reporting.page import Tab, render_page
from martensite.reporting.reasons import Reason
from martensite.reporting.scatter import Point, pareto_front, scatter_charts
from martensite.reporting.words import check_name

LEVEL = 0.05
ANSWER_TIME = "time, milliseconds an answer"
TABS = (
    Tab("overview", "Overview", ("models",)),
    Tab("tests", "Paired tests", ("pairs",)),
    Tab("attacks", "Attacks", ("by_attack", "transfer")),
    Tab("provenance", "Provenance", ("threat", "compared")),
)


def render_comparison(report: ComparisonReport) -> str:
    """A whole HTML document, below 2 MiB, that asks nothing of the network."""
    models = list(zip(report.names, report.reports, strict=True))
    cost_name, costs = model_costs(report)
    found = [Point(name, one.clean_accuracy, one.robust_accuracy, cost) for (name, one), cost in zip(models, costs, strict=True)]
    rough = cost_name == ANSWER_TIME
    front = pareto_front(found, by_cost=not rough)  # times of a few runs differ by chance
    best, _ = max(models, key=lambda model: model[1].robust_accuracy.value)
    return render_page(
        "comparison.html.j2",
        report,
        report.reports[0].environment,
        TABS,
        threat=report.reports[0].threat,
        measured=report.reports[0],
        models=models,
        best=best,
        lead=lead(report),
        why=list(_why(report)),
        points=found,
        front=front,
        rough=rough,
        cost_name=cost_name,
        charts=scatter_charts(found, cost_name, front),
        pairs=report.pairs,
        attacks=attack_table([Model("hardened", name, one) for name, one in models]),
        transfer=report.transfer,
        surrogates=(),
        commands=[evaluate_command([one]) for one in report.reports],
    )


def model_costs(report: ComparisonReport) -> tuple[str, list[float | None]]:
    """What the models cost, and in what: training where all of it is known, else time for an answer, else nothing."""
    if report.training and all(cost is not None for cost in report.training):
        return "training cost, standard epochs", list(report.training)
    answers = [1000 * one.timing["clean"] / one.data.n if "clean" in one.timing else None for one in report.reports]
    if all(cost is not None for cost in answers):
        return ANSWER_TIME, answers
    return "", [None] * len(report.reports)


def lead(report: ComparisonReport) -> str:
    """The outcome in a sentence or two."""
    ranked = sorted(zip(report.names, report.reports, strict=True), key=lambda model: -model[1].robust_accuracy.value)
    (first, best), (second, next_best) = ranked[:2]
    text = (
        f"{first} kept {percent(best.robust_accuracy.value)} under attack and {percent(best.clean_accuracy.value)} without; next "
        f"is {second} with {percent(next_best.robust_accuracy.value)} and {percent(next_best.clean_accuracy.value)}."
    )
    pair = next(pair for pair in report.pairs if {pair.first, pair.second} == {first, second})
    chance = "could be chance" if pair.p_robust >= LEVEL else "is more than chance"
    gap = points(abs(pair.robust.value)).lstrip("+")
    return f"{text} Their difference in robust accuracy, {gap} points, {chance} (p\N{NO-BREAK SPACE}{p_value(pair.p_robust)})."


def _why(report: ComparisonReport) -> Iterator[Reason]:
    """What stands against the comparison, and what it rests on."""
    first = report.reports[0]
    for name, one in zip(report.names, report.reports, strict=True):
        for error in one.errors:
            yield Reason("INVALID", name, f"A fault of the harness: {error.rstrip('.')}.")
        for finding in one.invalid:
            yield Reason("INVALID", name, f"{check_name(finding.name)}: {finding.evidence}. Its figures decide nothing.")
    yield Reason(
        "NOTE",
        "Same conditions",
        f"All were measured on the same {first.data.n:,} samples of {first.data.name}, under {first.threat}, with the suite "
        f"{first.suite} and an adversary who sees {first.access}.",
    )
