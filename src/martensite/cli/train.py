"""martensite train: a baseline by standard training."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "train"
EXAMPLES = """Examples:\n
  martensite train small_cnn --data digits --out models/baseline\n
  martensite train resnet18 --data mnist:data/mnist --epochs 5 --out models/mnist\n
  martensite train my_package.nets:make --data images/ --out models/mine"""


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="small_cnn, mlp, resnet18, vit_tiny; or as elsewhere, to go on from.")
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    data: options.Data = "digits",
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
    """Train a model with the standard objective; the epoch with the best validation accuracy is kept."""
    from martensite.artifacts import save_bundle
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, show
    from martensite.models import ARCHITECTURES, build
    from martensite.models.digest import model_digest
    from martensite.training import TrainingSettings, train

    settings = TrainingSettings(epochs=epochs, lr=lr, batch_size=batch_size)
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    if model in ARCHITECTURES.names():
        start = build(model, training.shape, training.classes, box=training.box, seed=seed)
    else:
        start = load_model(model, weights, training.classes).model
    with Display(quiet=json) as display:
        result = train(start, training, validation, settings=settings, seed=seed, checkpoint=resume, listener=display)
    save_bundle(result.model, out, shape=training.shape, class_names=training.class_names)
    figures = {
        "bundle": str(out),
        "digest": model_digest(result.model),
        "best_epoch": result.best.number,
        "clean_validation_accuracy": result.best.clean,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "timing": {"seconds": result.seconds},
    }
    if json:
        print_json(figures)
    else:
        show(f"{out}: {result.best.clean:.1%} validation accuracy (epoch {result.best.number}), {result.seconds:.1f} s")
    return 0
