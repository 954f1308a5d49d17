"""Stage 9: report.json and report.html."""

import json
from pathlib import Path

from martensite.core.files import write_text
from martensite.evaluation.report import (
    CertificationReport,
    DataRecord,
    Environment,
    RobustnessReport,
    RunReport,
    TrainingRecord,
    Verdict,
)
from martensite.pipeline.context import Run
from martensite.pipeline.gallery import pairs
from martensite.reporting import render_run


def report_stage(run: Run, folder: Path) -> None:
    """Leaves report.json and report.html at the top of the run directory."""
    stage = run.directory.stage
    timings = {path.parent.name: path for path in sorted((run.directory.path / "stages").glob("*/timing.json"))}
    report = RunReport(
        name=run.pipeline.name,
        seed=run.pipeline.seed,
        pipeline=run.pipeline.model_dump(mode="json"),
        threat=run.pipeline.threat,
        data=tuple(
            DataRecord.model_validate_json(json.dumps(part)) for part in json.loads((stage("data") / "data.json").read_text())
        ),
        baseline_training=TrainingRecord.model_validate_json((stage("train") / "training.json").read_bytes()),
        hardened_training=TrainingRecord.model_validate_json((stage("harden") / "training.json").read_bytes()),
        baseline=RobustnessReport.load(stage("evaluate") / "baseline.json"),
        hardened=RobustnessReport.load(stage("evaluate") / "hardened.json"),
        certification=CertificationReport.load(stage("certify") / "certificates.json"),
        verdict=Verdict.load(stage("gate") / "verdict.json"),
        bundle=json.loads((stage("bundle") / "bundle.json").read_text())["digest"],
        environment=Environment.here(),
        timing={name: json.loads(path.read_text())["seconds"] for name, path in timings.items()},
    )
    write_text(run.directory.path / "report.html", render_run(report, pairs(run)))
    report.save(run.directory.path / "report.json")
