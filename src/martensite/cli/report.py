"""martensite report: report.json as a page."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "report"
EXAMPLES = """Examples:\n
  martensite report results/report.json --out results/report.html\n
  martensite report runs/digits --markdown summary.md --junit report.xml"""


def command(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="report.json of evaluate or run, or the run directory.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Page to write; default: report.html beside it.", show_default=False),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="A summary for a pull request as well.", show_default=False),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Self-checks and gate as JUnit XML as well.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Render a report as one self-contained page, and show its table."""
    from martensite.cli import output
    from martensite.cli.progress import plain, show
    from martensite.cli.report_source import load_report
    from martensite.core.files import write_text
    from martensite.evaluation import RunReport
    from martensite.pipeline import render
    from martensite.reporting import junit_xml, markdown_summary

    loaded = load_report(report)
    folder = report if report.is_dir() else report.parent
    page = out or folder / "report.html"
    write_text(page, render(loaded, folder))
    measured, verdict = (loaded.hardened, loaded.verdict) if isinstance(loaded, RunReport) else (loaded, None)
    if markdown is not None:
        write_text(markdown, markdown_summary(measured))
    if junit is not None:
        write_text(junit, junit_xml(measured, verdict))
    if json:
        output.print_json(loaded.model_dump(mode="json"))
        return 0
    named = (
        [("baseline", loaded.baseline), ("hardened", loaded.hardened)] if isinstance(loaded, RunReport) else [("model", loaded)]
    )
    show(output.robustness_table(*named))
    show(f"Report: {plain(page)}")
    return 0
