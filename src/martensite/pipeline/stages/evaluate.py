"""Stage 5: measure both models with the same suite on the same test samples."""

from pathlib import Path

from martensite.evaluation import evaluate
from martensite.pipeline.context import Run


def evaluate_stage(run: Run, folder: Path) -> None:
    """Leaves baseline.json and hardened.json."""
    plan, data = run.pipeline, run.data("test")
    for name, model in (("baseline", run.baseline()), ("hardened", run.hardened())):
        report = evaluate(model, data, plan.threat, plan.suite, seed=plan.seed, engine=run.engine, listener=run.listener)
        report.save(folder / f"{name}.json")
