"""Run a pipeline from data to report, or go on with one that was cut off."""

import time
from pathlib import Path

from martensite.core.engine import Engine
from martensite.core.events import Event, Listener, silent
from martensite.core.files import write_text
from martensite.engine import LocalEngine
from martensite.evaluation.report import RunReport
from martensite.pipeline.config import Pipeline
from martensite.pipeline.context import Run, Statistics
from martensite.pipeline.directory import opened
from martensite.pipeline.records import Timing
from martensite.pipeline.stages import STAGES
from martensite.pipeline.stages.data import check_unchanged


def run(
    pipeline: Pipeline,
    out: str | Path,
    *,
    engine: Engine | None = None,
    listener: Listener = silent,
    statistics: Statistics | None = None,
) -> RunReport:
    """Take a pipeline through all stages; finished stages of the same run in ``out`` are not repeated.

    Args:
        pipeline: The plan.
        out: The run directory: new, empty, or begun by this very run.
        engine: Where attacks run; None: in this process.
        listener: Gets an event at every step.
        statistics: Takes from the hardened model and the test data what a server measures drift from, as the bundle keeps it;
            None: the bundle has none.

    Returns:
        The report, as in ``out/report.json``.

    Raises:
        RunError: ``out`` holds something else, or the data changed since the run began.
        ConfigError, DataError, ModelError, ThreatError: the plan doesn't fit the data; the first stage finds out.
        StorageError: the disk refused a write; finished stages are kept, and the next call goes on.
    """
    with opened(Path(out), pipeline, tuple(STAGES)) as directory:
        work = Run(pipeline, directory, engine or LocalEngine(), listener, statistics)
        for number, (name, stage) in enumerate(STAGES.items(), start=1):
            if directory.finished(name):
                if name == "data":
                    check_unchanged(work)
                listener(Event(name, 1, 1, message="finished earlier"))
                continue
            listener(Event(name, 0, 0, message=f"stage {number} of {len(STAGES)}"))
            started = time.perf_counter()
            with directory.finishing(name) as folder:
                stage(work, folder)
                write_text(folder / "timing.json", Timing(seconds=time.perf_counter() - started).model_dump_json())
            listener(Event(name, 1, 1, message="done"))
        return RunReport.load(directory.path / "report.json")
