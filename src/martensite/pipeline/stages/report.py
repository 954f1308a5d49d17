"""Stage 9: report.json and report.html."""

from pathlib import Path

from martensite.core.files import write_text
from martensite.evaluation.report import (
    CertificationReport,
    Environment,
    RobustnessReport,
    RunReport,
    TrainingRecord,
    Verdict,
)
from martensite.pipeline.context import Run
from martensite.pipeline.gallery import pairs
from martensite.pipeline.records import Bundled, Parts, Timing, Transferred
from martensite.reporting import render_run

EARLIER = ("data", "train", "attack", "harden", "evaluate", "certify", "bundle", "gate")


def report_stage(run: Run, folder: Path) -> None:
    """Leaves report.json and report.html at the top of the run directory."""
    read = run.directory.read
    report = RunReport(
        name=run.pipeline.name,
        seed=run.pipeline.seed,
        pipeline=run.pipeline.model_dump(mode="json"),
        threat=run.pipeline.threat,
        data=tuple(part for _, part in read("data", "data.json", Parts)),
        baseline_training=read("train", "training.json", TrainingRecord),
        hardened_training=read("harden", "training.json", TrainingRecord),
        baseline=read("evaluate", "baseline.json", RobustnessReport),
        hardened=read("evaluate", "hardened.json", RobustnessReport),
        certification=read("certify", "certificates.json", CertificationReport),
        transfer=read("evaluate", "transfer.json", Transferred).matrix,
        verdict=read("gate", "verdict.json", Verdict),
        bundle=read("bundle", "bundle.json", Bundled).digest,
        environment=Environment.here(),
        timing={run.directory.stage(name).name: read(name, "timing.json", Timing).seconds for name in EARLIER},
    )
    write_text(run.directory.path / "report.html", render_run(report, pairs(run.directory, report)))
    report.save(run.directory.path / "report.json")
