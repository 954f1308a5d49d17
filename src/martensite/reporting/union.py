"""The page of an evaluation under several threat models: what withstands all of them, and each of them in a tab."""

from collections.abc import Iterator, Sequence

from martensite.evaluation.examples import Pair
from martensite.evaluation.report import RobustnessReport
from martensite.evaluation.union import UnionReport
from martensite.reporting.commands import evaluate_command
from martensite.reporting.gallery import gallery
from martensite.reporting.html import Model, view
from martensite.reporting.page import Panel, Tab, environment, panels, render_page
from martensite.reporting.reasons import Reason, decided, reasons
from martensite.reporting.words import eps_text, norm_name

EACH = (
    "threat", "attacks", "outcomes", "curve", "traces", "transfer", "seeds", "gallery", "classes", "metrics", "diagnostics",
    "warnings", "limits", "cost",
)  # fmt: skip
SHOWN = 4  # examples of each threat model
URGENT = ("INVALID", "CAUTION", "SOUND", "PASS", "FAIL", "INCONCLUSIVE")  # what the top of the page says of each threat model


def render_union(report: UnionReport, pairs: Sequence[Sequence[Pair]] = ()) -> str:
    """A whole HTML document, below 2 MiB, that asks nothing of the network.

    Args:
        report: One model's, under several threat models.
        pairs: For the gallery of each threat model, in their order; fewer of each are shown than of a single one.
    """
    first = report.reports[0]
    tabs = (
        Tab("overview", "Overview", ("union",)),
        Tab("provenance", "Provenance", ("reproduce", "provenance")),
    )
    whole = view((Model("hardened", "This model", first),))
    context = whole | {
        "union": report,
        "alone": _alone(report),
        "invalid": bool(report.invalid or report.errors),
        "why": list(_why(report)),
        "command": evaluate_command(report.reports),
    }
    overview, origin = panels(environment(), tabs, context | {"environment": first.environment})
    shown = [one[:SHOWN] for one in pairs] or [()] * len(report.reports)
    each = [_panel(number, one, found) for number, (one, found) in enumerate(zip(report.reports, shown, strict=True), start=1)]
    return render_page("union.html.j2", report, first.environment, [overview, *each, origin], **context)


def _panel(number: int, report: RobustnessReport, pairs: Sequence[Pair]) -> Panel:
    at, label = f"threat-{number}", f"{norm_name(report.threat.norm)} {eps_text(report.threat).partition(' (')[0]}"
    context = view((Model("hardened", "This model", report),)) | {
        "at": f"{at}-",
        "environment": report.environment,
        "gallery": gallery(pairs, report.threat.box),
    }
    (panel,) = panels(environment(), (Tab(at, label, EACH),), context)
    return panel


def _alone(report: UnionReport) -> list[int]:
    """For each threat model the samples that no other one breaks."""
    samples = list(zip(*(one.outcomes for one in report.reports), strict=True))
    return [
        sum(sample[place] == "broken" and sample.count("broken") == 1 for sample in samples)
        for place in range(len(report.reports))
    ]


def _why(report: UnionReport) -> Iterator[tuple[str, Reason]]:
    """What was decided, and what bears on trust, with the threat model that it is about."""
    yield from (("all of them", reason) for reason in decided(report))
    for one in report.reports:
        for reason in reasons(one):
            if reason.mark in URGENT:
                yield str(one.threat), reason
