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
from martensite.pipeline.stages.data import recorded
from martensite.reporting import render_run

EARLIER = ("data", "train", "attack", "harden", "evaluate", "certify", "bundle", "gate")


def report_stage(run: Run, folder: Path) -> None:
    """Leaves report.json and report.html at the top of the run directory."""
    stage, read = run.directory.stage, run.directory.read
    report = RunReport(
        name=run.pipeline.name,
        seed=run.pipeline.seed,
        pipeline=run.pipeline.model_dump(mode="json"),
        threat=run.pipeline.threat,
        data=recorded(run),
        baseline_training=TrainingRecord.parse(read("train", "training.json")),
        hardened_training=TrainingRecord.parse(read("harden", "training.json")),
        baseline=RobustnessReport.load(stage("evaluate") / "baseline.json"),
        hardened=RobustnessReport.load(stage("evaluate") / "hardened.json"),
        certification=CertificationReport.load(stage("certify") / "certificates.json"),
        verdict=Verdict.load(stage("gate") / "verdict.json"),
        bundle=read("bundle", "bundle.json")["digest"],
        environment=Environment.here(),
        timing={stage(name).name: read(name, "timing.json")["seconds"] for name in EARLIER},
    )
    write_text(run.directory.path / "report.html", render_run(report, pairs(run)))
    report.save(run.directory.path / "report.json")
