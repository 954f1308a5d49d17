"""martensite harden: adversarial training of a model that is there."""

from typing import Annotated

import typer

from martensite.cli import options

NAME = "harden"
EXAMPLES = """Examples:\n
  martensite harden models/baseline --data digits --norm linf --eps 0.15 --out models/hardened\n
  martensite harden models/baseline --data digits --eps 0.15 --objective pgd_at --set mix=0.25 --out models/hardened"""


def command(
    model: options.Model,
    out: options.Bundle,
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    objective: Annotated[str, typer.Option(metavar="NAME", help="What to train with; an unknown name lists all.")] = "pgd_at",
    settings: options.Settings = None,
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
    """Harden a model by adversarial training; the epoch with the best robust validation accuracy is kept."""
    from martensite.artifacts import check_savable, save_bundle
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, plain, show
    from martensite.models.digest import model_digest
    from martensite.training import OBJECTIVES, TrainingSettings, harden

    plan = TrainingSettings(epochs=epochs, lr=lr, batch_size=batch_size)
    chosen = OBJECTIVES.build(options.parameters(objective, settings or []))
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    start = load_model(model, weights, training)
    threat = options.threat_model(norm, eps, constraints, start.threat, start.model.box)
    check_savable(start.model, out, shape=training.shape)
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
            f"{plain(out)}: on validation data {best.clean:.1%} clean, {best.robust:.1%} under {threat} (epoch {best.number}), "
            f"{result.seconds:.1f} s"
        )
    return 0
