"""martensite harden: adversarial training of a model that is there."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "harden"
EXAMPLES = """Examples:\n
  martensite harden models/baseline --data digits --norm linf --eps 0.15 --out models/hardened\n
  martensite harden models/baseline --data digits --eps 0.15 --objective pgd_at --set mix=0.25 --out models/hardened"""


def command(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    objective: Annotated[str, typer.Option(help="What to train with.")] = "pgd_at",
    settings: Annotated[list[str] | None, typer.Option("--set", help="A parameter of it, NAME=VALUE; may repeat.")] = None,
    label: options.Label = None,
    scale: options.Scale = None,
    weights: options.Weights = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 10,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples an update.")] = 64,
    seed: options.Seed = 0,
    resume: Annotated[
        Path | None, typer.Option(help="Checkpoint file to go on from and to write to.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> int:
    """Harden a model by adversarial training; the epoch with the best robust validation accuracy is kept."""
    from martensite.artifacts import save_bundle
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, show
    from martensite.models.digest import model_digest
    from martensite.training import OBJECTIVES, TrainingSettings, harden

    plan = TrainingSettings(epochs=epochs, lr=lr, batch_size=batch_size)
    chosen = OBJECTIVES.build(options.parameters(objective, settings or []))
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    start = load_model(model, weights, training.classes)
    threat = options.threat_model(norm, eps, start.threat, start.model.box)
    with Display(quiet=json) as display:
        result = harden(
            start.model,
            training,
            threat,
            chosen,
            validation,
            settings=plan,
            seed=seed,
            checkpoint=resume,
            listener=display,
        )
    save_bundle(result.model, out, threat=threat, shape=training.shape, class_names=training.class_names)
    best = result.best
    figures = {
        "bundle": str(out),
        "digest": model_digest(result.model),
        "threat": threat.model_dump(mode="json"),
        "best_epoch": best.number,
        "clean_validation_accuracy": best.clean,
        "robust_validation_accuracy": best.robust,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "timing": {"seconds": result.seconds},
    }
    if json:
        print_json(figures)
    else:
        show(
            f"{out}: on validation data {best.clean:.1%} clean, {best.robust:.1%} under {threat} (epoch {best.number}), "
            f"{result.seconds:.1f} s"
        )
    return 0
