"""Any report as a page; a run's page shows its adversarials as well, where the run directory is at hand."""

from pathlib import Path

from martensite.core.errors import DataError
from martensite.core.events import silent
from martensite.engine import LocalEngine
from martensite.evaluation.report import RobustnessReport, RunReport
from martensite.pipeline.config import Pipeline
from martensite.pipeline.context import Run
from martensite.pipeline.directory import RunDirectory
from martensite.pipeline.gallery import pairs
from martensite.pipeline.stages import STAGES
from martensite.reporting import render_robustness, render_run


def render(report: RobustnessReport | RunReport, folder: Path) -> str:
    """The HTML of a report.

    Args:
        report: Of one evaluation or of a run.
        folder: Where the report lies; a run directory adds its gallery, if the data is still there as it was.
    """
    if isinstance(report, RobustnessReport):
        return render_robustness(report)
    directory = RunDirectory(folder, tuple(STAGES))
    if not directory.finished("attack"):
        return render_run(report, ())
    run = Run(Pipeline.parse(report.pipeline), directory, LocalEngine(), silent)
    try:
        there = run.data("test").digest == report.hardened.data.digest
    except DataError:  # a report can be read where its data is not
        there = False
    return render_run(report, pairs(run) if there else ())
