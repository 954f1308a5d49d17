"""A leaderboard: every report under a folder on one page, sorted in four ways without a script.

Reports about other samples, threat models or suites don't compare, so each kind of evaluation has a table of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from martensite.evaluation.report import Environment, RobustnessReport
from martensite.evaluation.union import UnionReport
from martensite.reporting.formats import cost
from martensite.reporting.page import Tab, render_page

MOST = 500  # reports on the page: in four orders they take less than 2 MiB

Measured = RobustnessReport | UnionReport
Entry = tuple[str, Measured]
ORDERS: dict[str, Callable[[Entry], tuple[float | str, ...]]] = {
    "robust": lambda entry: (-entry[1].robust_accuracy.value, entry[0]),
    "clean": lambda entry: (-entry[1].clean_accuracy.value, entry[0]),
    "cost": lambda entry: (float(cost(entry[1])), entry[0]),
    "name": lambda entry: (entry[0],),
}


@dataclass(frozen=True)
class Board:
    """Reports that compare.

    Attributes:
        title: What they are about.
        orders: The entries, sorted in each way.
    """

    title: str
    orders: dict[str, list[Entry]]


def boards(reports: Mapping[str, Measured]) -> list[Board]:
    """Group reports by samples, threat model, suite and access; the groups by their titles."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for name, report in reports.items():
        threat = f"all of {', '.join(report.threats)}" if isinstance(report, UnionReport) else str(report.threat)
        title = f"{report.data.name}, {report.data.split}, n = {report.data.n}: {threat}, suite {report.suite}"
        if report.access != "gradients":
            title += f", adversary with {report.access} only"
        groups.setdefault((title, report.data.digest), []).append((name, report))
    return [Board(title, _sorted(entries)) for (title, _), entries in sorted(groups.items(), key=lambda group: group[0])]


def render_leaderboard(
    reports: Mapping[str, Measured], links: Mapping[str, str] | None = None, unreadable: Mapping[str, str] | None = None
) -> str:
    """A whole HTML document, that asks nothing of the network.

    Args:
        reports: By the names that the page shows, such as paths.
        links: Addresses of the reports' own pages, relative to this one, by the same names.
        unreadable: Files that should be reports and could not be read, with the reason.
    """
    ranked = sorted(reports.items(), key=ORDERS["robust"])
    return render_page(
        "leaderboard.html.j2",
        None,
        Environment.here(),
        (Tab("boards", "Reports", ("boards",)),),
        boards=boards(dict(ranked[:MOST])),
        orders=list(ORDERS),
        links=links or {},
        unreadable=unreadable or {},
        total=len(reports),
        left_out=max(len(reports) - MOST, 0),
    )


def _sorted(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    return {name: sorted(entries, key=key) for name, key in ORDERS.items()}
