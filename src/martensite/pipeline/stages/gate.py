"""Stage 8: PASS, FAIL or INCONCLUSIVE by the pipeline's thresholds."""

from pathlib import Path

from martensite.evaluation import RobustnessReport
from martensite.pipeline.context import Run


def gate_stage(run: Run, folder: Path) -> None:
    """Leaves verdict.json."""
    read = run.directory.read
    hardened, baseline = (read("evaluate", f"{name}.json", RobustnessReport) for name in ("hardened", "baseline"))
    run.pipeline.gate.judge(hardened, baseline).save(folder / "verdict.json")
