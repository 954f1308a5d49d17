"""Stage 8: PASS, FAIL or INCONCLUSIVE by the pipeline's thresholds."""

from pathlib import Path

from martensite.evaluation import RobustnessReport
from martensite.pipeline.context import Run


def gate_stage(run: Run, folder: Path) -> None:
    """Leaves verdict.json."""
    measured = run.directory.stage("evaluate")
    hardened = RobustnessReport.load(measured / "hardened.json")
    baseline = RobustnessReport.load(measured / "baseline.json")
    run.pipeline.gate.judge(hardened, baseline).save(folder / "verdict.json")
