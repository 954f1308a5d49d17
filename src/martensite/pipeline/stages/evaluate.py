"""Stage 5: measure both models with the same suite on the same test samples, and what passes between them."""

from dataclasses import replace
from pathlib import Path

from martensite.attacks import PGD
from martensite.core.errors import ThreatError
from martensite.core.events import Event, Listener
from martensite.core.files import write_text
from martensite.evaluation import TransferMatrix, evaluate, transfer_matrix
from martensite.pipeline.context import Run
from martensite.pipeline.records import Transferred

TRANSFER = PGD(steps=20, loss="margin")
SAMPLES = 250  # whose adversarials are made on one model and judged on the other: enough for intervals of +-6 points


def evaluate_stage(run: Run, folder: Path) -> None:
    """Leaves baseline.json and hardened.json, some adversarials of each (safetensors), and transfer.json."""
    plan, data = run.pipeline, run.data("test")
    for name, model in (("baseline", run.baseline()), ("hardened", run.hardened())):
        report = evaluate(
            model,
            data,
            plan.threat,
            plan.suite,
            seed=plan.seed,
            engine=run.engine,
            examples=folder / f"{name}.safetensors",
            listener=_renaming(run.listener, name),
        )
        report.save(folder / f"{name}.json")
    write_text(folder / "transfer.json", Transferred(matrix=_transfer(run)).model_dump_json())


def _transfer(run: Run) -> TransferMatrix | None:
    """None in a norm that projected ascent does not search."""
    models = {"baseline": run.baseline(), "hardened": run.hardened()}
    plan, data = run.pipeline, run.data("test").subset(slice(0, SAMPLES))
    try:
        for model in models.values():
            TRANSFER.check(model, plan.threat)
    except ThreatError:
        return None
    return transfer_matrix(models, data, plan.threat, TRANSFER, seed=plan.seed)


def _renaming(listener: Listener, name: str) -> Listener:
    """Two evaluations in one stage: their events say of which model."""

    def listen(event: Event) -> None:
        listener(replace(event, stage=name))

    return listen
