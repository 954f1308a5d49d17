"""martensite schema: what a report looks like, as JSON Schema."""

from typing import Annotated

import typer

from martensite.core.config import nearest
from martensite.core.errors import ConfigError

NAME = "schema"
EXAMPLES = """Examples:\n
  martensite schema report > report.schema.json\n
  martensite schema comparison"""


def command(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="report, union, comparison, certification, run or verdict.", show_default=False),
    ],
) -> int:
    """Print the JSON Schema (draft 2020-12) of a kind of report."""
    from martensite.cli.output import print_json
    from martensite.evaluation import CertificationReport, ComparisonReport, RobustnessReport, RunReport, UnionReport, Verdict
    from martensite.evaluation.report import Report

    kinds: dict[str, type[Report]] = {
        "report": RobustnessReport,
        "union": UnionReport,
        "comparison": ComparisonReport,
        "certification": CertificationReport,
        "run": RunReport,
        "verdict": Verdict,
    }
    if what not in kinds:
        raise ConfigError(f"there is no report of kind {what!r}", remedy=nearest(what, kinds))
    schema = kinds[what].model_json_schema()
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    return 0
