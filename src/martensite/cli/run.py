"""martensite run: the whole pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "run"
EXAMPLES = """Examples:\n
  martensite run                                  the digits example, into runs/digits\n
  martensite run pipeline.yaml --out runs/first\n
  martensite run pipeline.yaml --out runs/first --resume"""


def command(
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE.yaml]", help="Default: digits.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/NAME, or runs/NAME-2, ...", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run of this pipeline.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the pipeline's seed.", show_default=False)] = None,
    json: options.Json = False,
) -> int:
    """Take a model through the whole pipeline: data, train, attack, harden, evaluate, certify, bundle, gate, report."""
    from martensite.cli import output
    from martensite.cli.progress import Display, show
    from martensite.pipeline import example, load_pipeline
    from martensite.pipeline import run as run_pipeline

    plan = load_pipeline(pipeline) if pipeline else example()
    if seed is not None:
        plan = plan.model_copy(update={"seed": seed})
    place = out or _place(Path("runs"), plan.name, resume)
    with Display(quiet=json) as display:
        report = run_pipeline(plan, place, listener=display)
    if json:
        output.print_json(report.model_dump(mode="json"))
        return report.verdict.exit_code
    show(output.robustness_table(("baseline", report.baseline), ("hardened", report.hardened)))
    certified = report.certification
    show(f"Certified by smoothing: {certified.accuracy} of {certified.data.n} samples have a radius above 0.")
    output.show_warnings(report.hardened.warnings)
    output.show_verdict(report.verdict)
    show(f"Report: {place / 'report.html'}   ({sum(report.timing.values()):.0f} s)")
    return report.verdict.exit_code


def _place(root: Path, name: str, resume: bool) -> Path:
    """The last run's directory to resume; else a new one."""
    number, place = 1, root / name
    while place.exists():
        number, last = number + 1, place
        place = root / f"{name}-{number}"
    return last if resume and number > 1 else place
