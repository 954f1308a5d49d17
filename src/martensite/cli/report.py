"""martensite report: report.json as a page."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "report"
EXAMPLES = """Examples:\n
  martensite report results/report.json --out results/report.html\n
  martensite report runs/digits"""


def command(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="report.json of evaluate or run, or the run directory.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Page to write; default: report.html beside it.", show_default=False),
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

    loaded = load_report(report)
    folder = report if report.is_dir() else report.parent
    page = out or folder / "report.html"
    write_text(page, render(loaded, folder))
    if json:
        output.print_json(loaded.model_dump(mode="json"))
        return 0
    named = (
        [("baseline", loaded.baseline), ("hardened", loaded.hardened)] if isinstance(loaded, RunReport) else [("model", loaded)]
    )
    show(output.robustness_table(*named))
    show(f"Report: {plain(page)}")
    return 0
