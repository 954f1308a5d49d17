"""Stage 4: adversarial training, from the baseline on."""

from pathlib import Path

from martensite.artifacts import save_bundle
from martensite.core.files import write_text
from martensite.pipeline.context import Run
from martensite.pipeline.stages.train import training_record
from martensite.training import harden


def harden_stage(run: Run, folder: Path) -> None:
    """Leaves model/ and training.json."""
    plan, data = run.pipeline, run.data("train")
    result = harden(
        run.baseline(),
        data,
        plan.threat,
        plan.harden.objective,
        run.data("validation"),
        settings=plan.harden.settings,
        seed=plan.seed,
        checkpoint=run.directory.work / "harden.safetensors",
        listener=run.listener,
    )
    save_bundle(result.model, folder / "model", threat=plan.threat, class_names=data.class_names)
    record = training_record(result, plan.harden.objective, plan.harden.settings)
    write_text(folder / "training.json", record.model_dump_json(indent=2))
