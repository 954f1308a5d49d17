"""Reports that people read: one self-contained HTML page, offline, from the typed reports.

Names are loaded when first used: a server borrows the look of these pages, and does not wait for charts.
"""

from typing import TYPE_CHECKING

from martensite.core.lazy import on_demand

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
    "Pair": "martensite.evaluation.examples",
    "junit_xml": "martensite.reporting.junit",
    "markdown_summary": "martensite.reporting.markdown",
    "pareto_chart": "martensite.reporting.pareto",
    "render_certificates": "martensite.reporting.certificates",
    "render_comparison": "martensite.reporting.comparison",
    "render_leaderboard": "martensite.reporting.leaderboard",
    "render_robustness": "martensite.reporting.html",
    "render_run": "martensite.reporting.html",
    "render_union": "martensite.reporting.union",
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

__getattr__ = on_demand(__name__, _HOMES)
