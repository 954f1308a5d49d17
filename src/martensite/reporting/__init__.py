"""Reports that people read: one self-contained HTML page, offline, from the typed reports."""

from martensite.evaluation.examples import Pair
from martensite.reporting.certificates import render_certificates
from martensite.reporting.comparison import render_comparison
from martensite.reporting.html import render_robustness, render_run
from martensite.reporting.junit import junit_xml
from martensite.reporting.leaderboard import render_leaderboard
from martensite.reporting.markdown import markdown_summary
from martensite.reporting.pareto import pareto_chart
from martensite.reporting.union import render_union

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
