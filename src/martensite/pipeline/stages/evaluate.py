"""Stage 5: measure both models with the same suite on the same test samples."""

from dataclasses import replace
from pathlib import Path

from martensite.core.events import Event, Listener
from martensite.evaluation import evaluate
from martensite.pipeline.context import Run


def evaluate_stage(run: Run, folder: Path) -> None:
    """Leaves baseline.json and hardened.json."""
    plan, data = run.pipeline, run.data("test")
    for name, model in (("baseline", run.baseline()), ("hardened", run.hardened())):
        listener = _renaming(run.listener, name)
        report = evaluate(model, data, plan.threat, plan.suite, seed=plan.seed, engine=run.engine, listener=listener)
        report.save(folder / f"{name}.json")


def _renaming(listener: Listener, name: str) -> Listener:
    """Two evaluations in one stage: their events say of which model."""

    def listen(event: Event) -> None:
        listener(replace(event, stage=name))

    return listen
