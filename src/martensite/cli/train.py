"""martensite train: a baseline by standard training."""

from typing import Annotated

import typer

from martensite.cli import options
from martensite.core.errors import ConfigError

NAME = "train"
EXAMPLES = """Examples:\n
  martensite train small_cnn --data digits --out models/baseline\n
  martensite train wide_resnet --set depth=16 --set width=4 --data images/ --epochs 5 --out models/wide\n
  martensite train text_transformer --data text:messages.tsv --out models/text\n
  martensite train my_package.nets:make --data images/ --out models/mine"""

# Known here without loading torch for the help.
ARCHITECTURE_NAMES = (
    "madry_cnn",
    "mlp",
    "preact_resnet18",
    "resnet18",
    "small_cnn",
    "text_transformer",
    "trades_cnn",
    "vit_tiny",
    "wide_resnet",
)


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help=f"An architecture for a new one: {', '.join(ARCHITECTURE_NAMES)}. {options.MODEL_HELP}",
            show_default=False,
        ),
    ],
    out: options.Bundle,
    data: options.Data = "digits",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A parameter of the architecture: width=32; may repeat.", show_default=False
        ),
    ] = None,
    label: options.Label = None,
    scale: options.Scale = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    epochs: options.Epochs = 10,
    lr: options.Rate = 1e-3,
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    resume: options.Checkpoint = None,
    log: options.LogTo = None,
    json: options.Json = False,
) -> int:
    """Train a model with the standard objective; the epoch with the best validation accuracy is kept.

    Exit code 1: a guard ended the training early; the bundle holds the best weights until then.
    """
    from martensite.artifacts import check_savable, save_bundle
    from martensite.cli.guarded import guard_figures, show_guards
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, plain, show
    from martensite.models import ARCHITECTURES, build
    from martensite.models.digest import model_digest
    from martensite.training import TrainingSettings, train
    from martensite.training.logs import read_log

    plan = TrainingSettings(epochs=epochs, lr=lr, batch_size=batch_size)
    written = None if log is None else read_log(log)
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    if model in ARCHITECTURES.names() and weights is None:
        architecture = ARCHITECTURES.build(options.parameters(model, settings or []))
        start = build(architecture, training.shape, training.classes, box=training.box, seed=seed)
    else:
        if settings:
            raise ConfigError(f"--set {settings[0]} was given with {model}", "it is for a new architecture", "leave --set out")
        start = load_model(model, weights, training, also=ARCHITECTURES.names(), trust_code=trust_code).model
    check_savable(start, out, shape=training.shape)
    with Display(quiet=json) as display:
        result = train(start, training, validation, settings=plan, seed=seed, checkpoint=resume, listener=display, log=written)
    save_bundle(result.model, out, shape=training.shape, class_names=training.class_names)
    figures = {
        "bundle": str(out),
        "digest": model_digest(result.model),
        "best_epoch": result.best.number,
        "clean_validation_accuracy": result.best.clean,
        **guard_figures(result),
        "forwards": result.forwards,
        "backwards": result.backwards,
        "timing": {"seconds": result.seconds},
    }
    if json:
        print_json(figures)
    else:
        show_guards(result)
        show(f"{plain(out)}: {result.best.clean:.1%} validation accuracy (epoch {result.best.number}), {result.seconds:.1f} s")
    return 0 if result.completed else 1
