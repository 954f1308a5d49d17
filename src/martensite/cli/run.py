"""martensite run: the whole pipeline."""

from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from martensite.cli import options
from martensite.core.errors import RunError

if TYPE_CHECKING:
    from martensite.pipeline import Pipeline

NAME = "run"
EXAMPLES = """Examples:\n
  martensite run                                  the digits example, into runs/digits\n
  martensite run pipeline.yaml --out runs/first\n
  martensite run pipeline.yaml --out runs/first --resume"""


def command(
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="PIPELINE.yaml", help="Default: the digits example.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run directory; default runs/NAME, or runs/NAME-2, ...", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last run of this pipeline, if it was cut off.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Instead of the pipeline's seed.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> int:
    """Take a model through the whole pipeline: data, train, attack, harden, evaluate, certify, bundle, gate, report."""
    from martensite.cli import output
    from martensite.cli.progress import Display, plain, show
    from martensite.cli.reference import statistics
    from martensite.pipeline import example, load_pipeline
    from martensite.pipeline import run as run_pipeline

    plan = load_pipeline(pipeline) if pipeline else example()
    if seed is not None:
        plan = plan.model_copy(update={"seed": seed})
    place = out or _place(Path("runs"), plan, resume)
    with Display(quiet=json) as display:
        report = run_pipeline(plan, place, listener=display, statistics=statistics(plan.seed))
    if json:
        output.print_json(report.model_dump(mode="json"))
        return report.verdict.exit_code
    show(output.robustness_table(("baseline", report.baseline), ("hardened", report.hardened)))
    certified = report.certification
    show(f"Certified by smoothing: {certified.accuracy} of {certified.data.n} samples have a radius above 0.")
    output.show_errors(report.hardened.errors)
    output.show_warnings(report.hardened.warnings)
    output.show_verdict(report.verdict)
    show(f"Report: {plain(place / 'report.html')}   ({sum(report.timing.values()):.0f} s)")
    return report.verdict.exit_code


def _place(root: Path, plan: "Pipeline", resume: bool) -> Path:
    """The last directory that this very pipeline began, to resume; else a new one."""
    from martensite.pipeline import check_place

    names = (root / (plan.name if number == 1 else f"{plan.name}-{number}") for number in count(1))
    taken = list(takewhile(Path.exists, names))
    if not resume or not taken:
        return root / (f"{plan.name}-{len(taken) + 1}" if taken else plan.name)
    for place in reversed(taken):
        with suppress(RunError):
            check_place(place, plan)
            return place
    return taken[-1]  # which is refused, with what it differs in
