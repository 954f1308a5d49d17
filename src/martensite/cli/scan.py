"""martensite scan: is this model file safe to load?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options

if TYPE_CHECKING:
    from martensite.artifacts.scan import ScanReport

NAME = "scan"
EXAMPLES = """Examples:\n
  martensite scan downloads/model.pth\n
  martensite scan models/ --json > scan.json\n
  martensite scan . --sarif > scan.sarif"""
COLOURS = {"clean": "green", "unjudged": "yellow", "suspicious": "yellow", "dangerous": "bold red"}


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.", show_default=False)],
    digests: Annotated[
        bool, typer.Option("--digests/--no-digests", help="With --json: the SHA-256 of every file, which a signed claim needs.")
    ] = True,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print the findings as SARIF 2.1.0 on stdout.")] = False,
    json: options.Json = False,
) -> int:
    """Judge whether model files are safe to load, without loading any.

    Files are recognised by their content, inside archives too. Exit code 0: clean; 1: something was found; 3: something could
    not be judged.
    """
    from martensite import __version__
    from martensite.artifacts.scan import scan, to_sarif
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display
    from martensite.core.errors import ConfigError

    if json and sarif:
        raise ConfigError("both --json and --sarif were given", "stdout holds one document", "leave one of them out")
    with Display(quiet=json or sarif) as display:
        report = scan(paths, digests=digests and json, listener=display)
    if sarif:
        print_json(to_sarif(report, __version__))
    elif json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
    return report.exit_code


def _show(report: "ScanReport") -> None:
    """A line a finding, worst first, with its remedy; then the sum."""
    from martensite.artifacts.scan.report import RANK
    from martensite.cli.progress import plain, show

    for finding in sorted(report.findings, key=lambda one: -RANK[one.severity]):
        colour = COLOURS[finding.severity]
        show(
            f"[{colour}]{finding.severity:<11}[/] {plain(finding.path)}\n{'':<12}{plain(finding.reason)} [dim]({finding.kind})[/]"
        )
        if finding.remedy:
            show(f"{'':<12}[dim]{plain(finding.remedy)}[/]")
    counts = ", ".join(
        f"{number} {severity}"
        for severity in reversed(RANK)
        if (number := sum(file.severity == severity for file in report.files))
    )
    files = f"{len(report.files)} file{'s' if len(report.files) != 1 else ''}"
    show(f"[{COLOURS[report.severity]}]{report.severity}[/]: {files}: {counts}; {report.seconds:.1f} s")
