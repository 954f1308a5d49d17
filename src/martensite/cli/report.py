"""martensite report: report.json as a page."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.core.errors import ArtifactError, ConfigError

NAME = "report"
EXAMPLES = """Examples:\n
  martensite report results/report.json --out results/report.html\n
  martensite report --index results/\n
  martensite report runs/digits --markdown summary.md --junit report.xml"""


def command(
    report: Annotated[
        Path | None,
        typer.Argument(metavar="REPORT", help="report.json of evaluate or run, or the run directory.", show_default=False),
    ] = None,
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
        typer.Option(metavar="FILE", dir_okay=False, help="Self-checks and gate as JUnit XML as well.", show_default=False),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Instead: a page, index.html, over all report.json below DIR.",
            show_default=False,
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

    if index is not None and report is None:
        return _index(index, out, json)
    if report is None or index is not None:
        raise ConfigError("not one of REPORT and --index was given", "a page shows one report, or all of a folder", "give one")
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


def _index(folder: Path, out: Path | None, json: bool) -> int:
    """The leaderboard of a folder; files of that name that are no evaluation of one model are left out."""
    from martensite.cli import output
    from martensite.cli.progress import plain, show
    from martensite.core.files import write_text
    from martensite.evaluation import RobustnessReport
    from martensite.reporting import render_leaderboard

    found: dict[str, RobustnessReport] = {}
    for file in sorted(folder.rglob("report.json")):
        with suppress(ArtifactError):
            found[str(file.parent.relative_to(folder))] = RobustnessReport.load(file)
    if not found:
        raise ArtifactError(f"{folder} holds no report.json of an evaluation", remedy="write some with evaluate --out")
    page = out or folder / "index.html"
    write_text(page, render_leaderboard(found))
    if json:
        output.print_json({"index": str(page), "reports": sorted(found)})
    else:
        show(f"Leaderboard of {len(found)} reports: {plain(page)}")
    return 0
