"""martensite compare: several models on the same samples, with paired tests."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "compare"
EXAMPLES = """Examples:\n
  martensite compare results/a/report.json results/b/report.json\n
  martensite compare results/* --out comparison/"""


def command(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT REPORT...", help="Reports of evaluate on the same samples, or their folders.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Folder for report.json and report.html.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> int:
    """Compare models that were evaluated alike: paired differences, and whether they could be chance."""
    from martensite.cli.output import comparison_table, print_json, robustness_table
    from martensite.cli.progress import plain, show
    from martensite.cli.report_source import load_report
    from martensite.core.errors import DataError
    from martensite.core.files import write_text
    from martensite.evaluation import RobustnessReport, compare
    from martensite.reporting import render_comparison

    named: dict[str, RobustnessReport] = {}
    for path in reports:
        found = load_report(path)
        if not isinstance(found, RobustnessReport):
            raise DataError(f"{path} is the report of a whole run", "one of a single evaluation is needed", "give baseline.json")
        name = path.name if path.is_dir() else path.parent.name or path.stem
        named[name if name not in named else str(path)] = found
    report = compare(named)
    if out is not None:
        write_text(out / "report.html", render_comparison(report))
        report.save(out / "report.json")
    if json:
        print_json(report.model_dump(mode="json"))
        return 0
    show(robustness_table(*named.items()))
    show(comparison_table(report))
    if out is not None:
        show(f"Report: {plain(out / 'report.html')}")
    return 0
