"""martensite harden: adversarial training of a model that is there."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options

if TYPE_CHECKING:
    from martensite.evaluation import Rate
    from martensite.training import TrainingResult

NAME = "harden"
EXAMPLES = """Examples:\n
  martensite harden models/baseline --data digits --norm linf --eps 0.15 --out models/hardened\n
  martensite harden models/baseline --data mnist:data/mnist --eps 0.3 --recipe fast --floor 0.97 --out models/hardened\n
  martensite harden models/baseline --eps 0.15 --objective trades --set beta=3 --set settings.lr=2e-3 --out models/hardened\n
  martensite harden models/baseline --eps 0.15 --objective ensemble_at --surrogate models/other --out models/hardened"""


def command(
    model: options.Model,
    out: options.Bundle,
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="fast, balanced (the default) or thorough; or a YAML file of phases.", show_default=False
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="An objective instead of a recipe; an unknown name lists all.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of the objective: mix=0.25; of the training: settings.lr=2e-3; of one phase: 2.settings.lr=2e-3. May repeat.",
            show_default=False,
        ),
    ] = None,
    label: options.Label = None,
    scale: options.Scale = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Passes over the data in all; default: the recipe's, or 10.", show_default=False),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="LR", help="Peak learning rate, of every phase.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Samples an update, in every phase.", show_default=False)
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Least clean accuracy on validation data, in (0, 1).", show_default=False),
    ] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this guard watches; may repeat. 'none' for none; an unknown name lists all.",
            show_default=False,
        ),
    ] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A held model that ensemble_at also makes adversarials on: a bundle folder or a factory. May repeat.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    resume: options.Checkpoint = None,
    log: options.LogTo = None,
    json: options.Json = False,
) -> int:
    """Harden a model by adversarial training; the weights with the best robust validation accuracy are kept.

    Exit code 1: a guard ended the training early; the bundle holds the best weights until then.
    """
    from martensite.artifacts import check_savable, save_bundle
    from martensite.cli import recipe_source
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display
    from martensite.training import harden
    from martensite.training.ledger import Ledger
    from martensite.training.logs import read_log
    from martensite.training.validation import measure

    recipe_source.check_once(settings or [], epochs, lr, batch_size, guard)
    plan = recipe_source.load(recipe, objective, settings or [])
    plan = recipe_source.adapt(plan, epochs, lr, batch_size, guard, floor)
    written = None if log is None else read_log(log)
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    start = load_model(model, weights, training, trust_code=trust_code)
    threat = options.threat_model(norm, eps, constraints, start.threat, start.model.box)
    held = [load_model(source, None, training, trust_code=trust_code).model for source in surrogate or []]
    check_savable(start.model, out, shape=training.shape)
    with Display(quiet=json) as display:
        result = harden(
            start.model,
            training,
            threat,
            None,
            validation,
            surrogates=held,
            recipe=plan,
            seed=seed,
            checkpoint=resume,
            listener=display,
            log=written,
        )
        before = measure(start.model, validation, plan.phases[-1].settings, threat, seed, Ledger())
        after = measure(result.model, validation, plan.phases[-1].settings, threat, seed, Ledger())
    save_bundle(result.model, out, threat=threat, shape=training.shape, class_names=training.class_names)
    rates = [_rate(value, len(validation)) for value in (before[0], after[0], before[1], after[1])]
    if json:
        print_json(
            {
                "bundle": str(out),
                "recipe": plan.model_dump(mode="json"),
                "threat": threat.model_dump(mode="json"),
                **_figures(result, rates),
            }
        )
    else:
        _show(str(out), str(threat), result, rates)
    return 0 if result.completed else 1


def _figures(result: "TrainingResult", rates: "list[Rate]") -> dict[str, Any]:
    from martensite.cli.guarded import guard_figures
    from martensite.models.digest import model_digest

    names = ("clean_before", "clean_after", "robust_before", "robust_after")
    cost = result.cost.record()
    purposes = ("update", "attack", "validation", "guards")
    return {
        "digest": model_digest(result.model),
        "best_epoch": result.best.number,
        "clean_validation_accuracy": result.best.clean,
        "robust_validation_accuracy": result.best.robust,
        "validation": {name: rate.model_dump(mode="json") for name, rate in zip(names, rates, strict=True)},
        **guard_figures(result),
        "forwards": result.forwards,
        "backwards": result.backwards,
        "cost": {
            **{name: {kind: cost[name][kind] for kind in ("forwards", "backwards")} for name in purposes},
            "standard_epochs": cost["epochs_by_passes"],
        },
        "timing": {
            "seconds": result.seconds,
            "standard_epochs": cost["epochs_by_time"],
            "peak_memory": cost["peak_memory"],
            **{name: cost[name]["seconds"] for name in purposes},
        },
    }


def _show(out: str, threat: str, result: "TrainingResult", rates: "list[Rate]") -> None:
    from martensite.cli.guarded import show_guards
    from martensite.cli.output import trade_table
    from martensite.cli.progress import plain, show

    show(trade_table(threat, *rates))
    cost = result.cost
    show(
        f"Cost: {result.forwards:,} forward and {result.backwards:,} backward passes, as many as "
        f"{cost.epochs_by_passes:.1f} standard epochs; {result.seconds:.1f} s"
    )
    show_guards(result)
    show(f"{plain(out)}: the weights of epoch {result.best.number}, chosen on these validation data; measure on test data.")


def _rate(value: float | None, n: int) -> "Rate":
    from martensite.evaluation import Rate

    return Rate.of(round((value or 0.0) * n), n)
