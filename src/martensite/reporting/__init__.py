"""Reports that people read: one self-contained HTML page, offline, from the typed reports.

Names are loaded when first used: a server borrows the look of these pages, and does not wait for charts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from martensite.evaluation.examples import Pair
    from martensite.reporting.certificates import render_certificates
    from martensite.reporting.comparison import render_comparison
    from martensite.reporting.html import render_robustness, render_run
    from martensite.reporting.junit import junit_xml
    from martensite.reporting.leaderboard import render_leaderboard
    from martensite.reporting.markdown import markdown_summary
    from martensite.reporting.pareto import pareto_chart
    from martensite.reporting.union import render_union

_HOMES = {
    "Pair": "evaluation.examples",
    "junit_xml": "reporting.junit",
    "markdown_summary": "reporting.markdown",
    "pareto_chart": "reporting.pareto",
    "render_certificates": "reporting.certificates",
    "render_comparison": "reporting.comparison",
    "render_leaderboard": "reporting.leaderboard",
    "render_robustness": "reporting.html",
    "render_run": "reporting.html",
    "render_union": "reporting.union",
}

__all__ = [
    "Pair",
    "junit_xml",
    "markdown_summary",
    "pareto_chart",
    "render_certificates",
    "render_comparison",
    "render_leaderboard",
    "render_robustness",
    "render_run",
    "render_union",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"martensite.{_HOMES[name]}"), name)
