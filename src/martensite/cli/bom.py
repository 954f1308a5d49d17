"""martensite bom: what a model is made of."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.attest import Bundle

NAME = "bom"
EXAMPLES = """Examples:\n
  martensite bom models/hardened runs/digits/report.json --out bom.json\n
  martensite bom models/hardened"""


def command(
    bundle: Bundle,
    report: Annotated[
        Path | None,
        typer.Argument(metavar="[REPORT]", help="report.json: its figures and data go in, too.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, not to stdout.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Bill of materials: CycloneDX 1.6 with model card, files, data, and every package with its licence."""
    from martensite.artifacts.attest.bom import make_bom
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.cli.report_source import load_report
    from martensite.cli.secrets import installed
    from martensite.core.files import write_json

    installed()
    document = make_bom(bundle, load_report(report) if report is not None else None)
    if out is not None:
        write_json(out, document)
    if json or out is None:
        print_json(document)
    else:
        show(plain(f"{out}: {len(document['components'])} components"))
