"""Stage 2: a baseline by standard training."""

from pathlib import Path

from martensite.artifacts import save_bundle
from martensite.core.files import write_text
from martensite.evaluation.report import TrainingRecord
from martensite.models import build
from martensite.pipeline.context import Run
from martensite.training import Objective, TrainingResult, TrainingSettings, train
from martensite.training.objectives import Standard


def train_stage(run: Run, folder: Path) -> None:
    """Leaves model/ and training.json."""
    plan, data = run.pipeline, run.data("train")
    model = build(plan.model, data.shape, data.classes, mean=plan.mean, std=plan.std, box=plan.threat.box, seed=plan.seed)
    result = train(
        model,
        data,
        run.data("validation"),
        settings=plan.train,
        seed=plan.seed,
        checkpoint=run.directory.work / "train.safetensors",
        listener=run.listener,
    )
    save_bundle(result.model, folder / "model", class_names=data.class_names)
    write_text(folder / "training.json", training_record(result, Standard(), plan.train).model_dump_json(indent=2))


def training_record(result: TrainingResult, objective: Objective, settings: TrainingSettings) -> TrainingRecord:
    """The cost ledger's entry of one training run."""
    return TrainingRecord(
        objective=objective.model_dump(mode="json"),
        settings=settings.model_dump(mode="json"),
        epochs=len(result.history),
        best_epoch=result.best.number,
        clean_validation=result.best.clean or 0.0,
        robust_validation=result.best.robust,
        forwards=result.forwards,
        backwards=result.backwards,
        standard_epochs=result.cost.epochs_by_passes,
        recoveries=tuple(f"batch {made.update}: {made.complaint}; {made.remedy}" for made in result.recoveries),
        verdict=result.verdict,
    )
