"""martensite report: report.json as a page."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from martensite.cli import options
from martensite.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from martensite.pipeline.render import AnyReport

NAME = "report"
EXAMPLES = """Examples:\n
  martensite report results/report.json --out results/report.html\n
  martensite report --index results/\n
  martensite report runs/digits --markdown summary.md --junit report.xml"""


def command(
    report: Annotated[
        Path | None,
        typer.Argument(
            metavar="REPORT", help="report.json of evaluate, compare, certify or run, or its folder.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Page to write; default: report.html beside it.", show_default=False),
    ] = None,
    markdown: options.Markdown = None,
    junit: options.Junit = None,
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
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.cli.report_source import load_any_report
    from martensite.core.files import write_text
    from martensite.evaluation import CertificationReport, RunReport
    from martensite.pipeline import render
    from martensite.reporting import junit_xml, markdown_summary

    if index is not None and report is None:
        return _index(index, out, json)
    if report is None or index is not None:
        raise ConfigError("not one of REPORT and --index was given", "a page shows one report, or all of a folder", "give one")
    loaded = load_any_report(report)
    judged, verdict = (loaded.hardened, loaded.verdict) if isinstance(loaded, RunReport) else (loaded, None)
    if isinstance(judged, CertificationReport):
        if markdown is not None or junit is not None:
            raise ConfigError(f"{report} is about certificates", "summaries are of attacks", "leave --markdown and --junit out")
    else:
        if markdown is not None:
            write_text(markdown, markdown_summary(judged))
        if junit is not None:
            write_text(junit, junit_xml(judged, verdict))
    folder = report if report.is_dir() else report.parent
    page = out or folder / "report.html"
    write_text(page, render(loaded, folder))
    if json:
        print_json(loaded.model_dump(mode="json"))
        return 0
    _show(loaded)
    show(f"Report: {plain(page)}")
    return 0


def _show(report: "AnyReport") -> None:
    """The table of a report of any kind."""
    from martensite.cli.output import comparison_table, robustness_table, show_certificates, show_trust, show_union
    from martensite.cli.progress import show
    from martensite.evaluation import CertificationReport, ComparisonReport, RunReport, UnionReport

    if isinstance(report, CertificationReport):
        show_certificates(report)
    elif isinstance(report, UnionReport):
        for one in report.reports:
            show(robustness_table((str(one.threat), one)))
            show_trust(one)
        show_union(report)
    elif isinstance(report, ComparisonReport):
        show(robustness_table(*zip(report.names, report.reports, strict=True)))
        show(comparison_table(report))
    elif isinstance(report, RunReport):
        show(robustness_table(("baseline", report.baseline), ("hardened", report.hardened)))
    else:
        show(robustness_table(("model", report)))
        show_trust(report)


def _index(folder: Path, out: Path | None, json: bool) -> int:
    """The leaderboard of a folder, of evaluations and of the models of runs; other kinds of report have no place on it."""
    from martensite.cli import output
    from martensite.cli.progress import plain, show, warn
    from martensite.cli.report_source import load_any_report
    from martensite.core.files import write_text
    from martensite.evaluation import RobustnessReport, RunReport, UnionReport
    from martensite.reporting import render_leaderboard

    page = out or folder / "index.html"
    found: dict[str, RobustnessReport | UnionReport] = {}
    links: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for file in sorted(folder.rglob("report.json")):
        try:
            loaded, name = load_any_report(file), _name(file.parent, folder)
        except ArtifactError as error:
            unreadable[str(file.relative_to(folder))] = str(error)
            warn(f"left out: {error}")
            continue
        if isinstance(loaded, RunReport):
            entries: dict[str, RobustnessReport | UnionReport] = {
                f"{name}: baseline": loaded.baseline,
                f"{name}: hardened": loaded.hardened,
            }
        else:
            entries = {name: loaded} if isinstance(loaded, RobustnessReport | UnionReport) else {}
        found |= entries
        if file.with_name("report.html").is_file():
            links |= dict.fromkeys(entries, quote(os.path.relpath(file.with_name("report.html"), page.parent)))
    if not found:
        raise ArtifactError(f"{folder} holds no report.json of an evaluation", remedy="write some with evaluate --out")
    write_text(page, render_leaderboard(found, links, unreadable))
    if json:
        output.print_json({"index": str(page), "reports": sorted(found), "unreadable": unreadable})
    else:
        show(f"Leaderboard of {len(found)} reports: {plain(page)}")
    return 0


def _name(place: Path, folder: Path) -> str:
    """What the leaderboard calls the reports that lie there: by the way from its folder, in the folder itself by its name."""
    if place != folder:
        return str(place.relative_to(folder))
    own = folder.resolve().name or str(folder.resolve())
    return own if not (folder / own / "report.json").is_file() else str(folder.resolve())
