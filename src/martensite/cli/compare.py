"""martensite compare: several models on the same samples, with paired tests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options
from martensite.core.errors import DataError

if TYPE_CHECKING:
    from martensite.evaluation import RobustnessReport

NAME = "compare"
REPORT = "report.json"
EXAMPLES = """Examples:\n
  martensite compare results/a/report.json results/b/report.json\n
  martensite compare results/* --out comparison/\n
  martensite compare runs/old runs/new --markdown comment.md --junit compare.xml\n
  martensite compare results/a results/b --transfer models/a --transfer models/b --data digits --out comparison/"""


def command(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT REPORT...",
            help="Reports of evaluate on the same samples, or their folders; of a run, its hardened model.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Folder for report.json and report.html.", show_default=False),
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="The models themselves, one a REPORT and in their order: how far adversarials of each break the others.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[str, typer.Option(metavar="DATA", help=f"For --transfer, the samples: {options.DATA_HELP}")] = "digits",
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    trust_code: options.TrustCode = False,
    markdown: options.Markdown = None,
    junit: options.Junit = None,
    json: options.Json = False,
) -> int:
    """Compare models that were evaluated alike: paired differences, and whether they could be chance."""
    from martensite.cli.output import comparison_table, print_json, robustness_table, transfer_table
    from martensite.cli.progress import plain, show
    from martensite.cli.transferred import transferred
    from martensite.core.files import write_text
    from martensite.evaluation import compare
    from martensite.reporting import junit_xml, markdown_summary, render_comparison
    from martensite.reporting.words import access_sentence

    named, training = _named(reports)
    report = compare(named, training if any(cost is not None for cost in training.values()) else None)
    if transfer:
        inputs = options.dataset(data, split, label, scale, samples)
        report = report.model_copy(update={"transfer": transferred(transfer, named, inputs, trust_code)})
    if out is not None:
        write_text(out / "report.html", render_comparison(report))
        report.save(out / "report.json")
    if markdown is not None:
        write_text(markdown, markdown_summary(report))
    if junit is not None:
        write_text(junit, junit_xml(report))
    if json:
        print_json(report.model_dump(mode="json"))
        return 0
    show(robustness_table(*named.items()))
    show(comparison_table(report))
    if said := access_sentence(report.reports[0].access):
        show(said)
    if report.transfer is not None:
        show(transfer_table(report.transfer))
    if out is not None:
        show(f"Report: {plain(out / 'report.html')}")
    return 0


def _named(paths: list[Path]) -> "tuple[dict[str, RobustnessReport], dict[str, float | None]]":
    """The reports by their folders' names, a file of another name by its own; and what training cost, where it is known."""
    from martensite.cli.report_source import load_report
    from martensite.evaluation import RunReport

    named: dict[str, RobustnessReport] = {}
    training: dict[str, float | None] = {}
    files: set[Path] = set()
    for path in paths:
        found = load_report(path)
        file = (path / REPORT if path.is_dir() else path).resolve()
        if file in files:
            raise DataError(f"{path} is given twice", "a comparison is between different reports", "leave one of them out")
        files.add(file)
        name = file.parent.name if file.name == REPORT else file.stem
        name = name if name not in named else str(path)
        if isinstance(found, RunReport):
            named[name], training[name] = found.hardened, found.hardened_training.standard_epochs
        else:
            named[name], training[name] = found, None
    return named, training
