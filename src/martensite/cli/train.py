"""martensite train: a baseline by standard training."""

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
        str, typer.Argument(metavar="MODEL", help=f"small_cnn, mlp, resnet18 or vit_tiny for a new one. {options.MODEL_HELP}")
    ],
    out: options.Bundle,
    data: options.Data = "digits",
    label: options.Label = None,
    scale: options.Scale = None,
    weights: options.Weights = None,
    epochs: options.Epochs = 10,
    lr: options.Rate = 1e-3,
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    resume: options.Checkpoint = None,
    json: options.Json = False,
) -> int:
    """Train a model with the standard objective; the epoch with the best validation accuracy is kept."""
    from martensite.artifacts import check_savable, save_bundle
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, plain, show
    from martensite.models import ARCHITECTURES, build
    from martensite.models.digest import model_digest
    from martensite.training import TrainingSettings, train

    settings = TrainingSettings(epochs=epochs, lr=lr, batch_size=batch_size)
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    if model in ARCHITECTURES.names() and weights is None:
        start = build(model, training.shape, training.classes, box=training.box, seed=seed)
    else:
        start = load_model(model, weights, training, also=ARCHITECTURES.names()).model
    check_savable(start, out, shape=training.shape)
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
        show(f"{plain(out)}: {result.best.clean:.1%} validation accuracy (epoch {result.best.number}), {result.seconds:.1f} s")
    return 0
