"""martensite sweep: harden a model in many ways, and choose one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options
from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.training.sweep import Point

NAME = "sweep"
EXAMPLES = """Examples:\n
  martensite sweep models/baseline --data digits --eps 0.15 --train-eps 0.1,0.15,0.2 --values mix=0,0.5 --out sweeps/digits\n
  martensite sweep models/baseline --data mnist:data/mnist --eps 0.3 --objective pgd_at --objective trades \\
      --values mix=0,0.5 --values beta=1,3,6 --epochs 8 --min-clean 0.97 --out sweeps/mnist"""


def command(
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Directory of the sweep; one that was cut off goes on. The chosen bundle, report.json and pareto.svg go there.",
            show_default=False,
        ),
    ],
    data: options.Data = "digits",
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    train_eps: Annotated[
        str | None,
        typer.Option(
            metavar="EPS,EPS,...", help="What to train against; default: the eps that all are judged by.", show_default=False
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An objective to try; may repeat. Default: pgd_at and trades.", show_default=False),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V,V,...",
            help="Values of a parameter, for every objective that has it; may repeat.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Of the training: schedule=cosine; may repeat.", show_default=False),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Of the points that train to the end.")] = 8,
    rungs: Annotated[int, typer.Option(min=1, metavar="N", help="How often points are compared, at most.")] = 3,
    eta: Annotated[int, typer.Option(min=2, metavar="N", help="One point in so many goes on to the next rung.")] = 2,
    min_clean: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Least clean accuracy of the chosen point, in (0, 1).", show_default=False),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="LR", help="Peak learning rate; default: 0.001.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Samples an update; default: 64.", show_default=False)
    ] = None,
    label: options.Label = None,
    scale: options.Scale = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> int:
    """Harden a model over a grid of eps, objectives and parameters; poor points stop early, and the best one is chosen.

    Exit code 1: no point keeps the floor of clean accuracy.
    """
    from martensite.artifacts import check_savable, save_bundle
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, show_warnings, sweep_table
    from martensite.cli.progress import Display, plain, show
    from martensite.core.files import write_json, write_text
    from martensite.reporting import pareto_chart
    from martensite.training import TrainingSettings
    from martensite.training.result import COMPLETED
    from martensite.training.sweep import SweepPlan, sweep

    chosen_settings = TrainingSettings.parse(_settings(settings or [], lr, batch_size))
    training = options.dataset(data, "train", label, scale, None)
    validation = options.dataset(data, "validation", label, scale, None)
    start = load_model(model, weights, training, trust_code=trust_code)
    threat = options.threat_model(norm, eps, constraints, start.threat, start.model.box)
    plan = SweepPlan(
        points=_points(train_eps, objective or ["pgd_at", "trades"], values or [], threat.eps),
        epochs=epochs,
        rungs=rungs,
        eta=eta,
        settings=chosen_settings,
        min_clean=min_clean,
    )
    check_savable(start.model, out / "model", shape=training.shape)
    with Display(quiet=json) as display:
        result = sweep(plan, start.model, training, threat, out, validation, seed=seed, listener=display)
    record = {"threat": threat.model_dump(mode="json"), "min_clean": min_clean, "seed": seed, **_without_clocks(result.record())}
    if result.model is not None:
        save_bundle(result.model, out / "model", threat=threat, shape=training.shape, class_names=training.class_names)
        record["bundle"] = str(out / "model")
    write_json(out / "report.json", record)
    write_text(out / "pareto.svg", pareto_chart(result, min_clean))
    if json:
        print_json(record)
    else:
        show(sweep_table(result, str(threat)))
        show(plain(result.reason) + ".")
        troubled = [(one.point, one.failure or one.verdict) for one in result.outcomes if one.failure or one.verdict != COMPLETED]
        show_warnings(tuple(f"{point}: {trouble}" for point, trouble in troubled))
        show(f"{plain(out / 'model')}: the chosen model" if result.model else "[yellow]Nothing was chosen.[/]")
        show(f"Picture: {plain(out / 'pareto.svg')}")
    return 0 if result.model is not None else 1


def _settings(changes: list[str], lr: float | None, batch_size: int | None) -> dict[str, Any]:
    given = {name: value for name, value in (("lr", lr), ("batch_size", batch_size)) if value is not None}
    found = options.read_settings(changes, given)
    if "epochs" in found:
        raise ConfigError(
            f"--set epochs={found['epochs']} was given",
            "a point's epochs depend on how far it gets",
            "give --epochs of the last rung",
        )
    return found


def _points(train_eps: str | None, objectives: list[str], values: list[str], eps: float) -> "tuple[Point, ...]":
    from martensite.core.config import load_yaml, to_number
    from martensite.training.sweep import grid

    levels: list[float] = [eps]
    if train_eps is not None:
        found = [to_number(part) for part in train_eps.split(",")]
        if not all(found):
            bad = next(part for part, number in zip(train_eps.split(","), found, strict=True) if not number)
            raise ConfigError(f"--train-eps holds {bad!r}", "it is a list of numbers above 0", "e.g. --train-eps 0.1,8/255")
        levels = [number for number in found if number]
    pairs = options.read_pairs(values, "--values beta=1,3,6")
    grids = {name: load_yaml(f"[{value}]") for name, value in pairs.items()}
    return grid(levels, objectives, grids)


def _without_clocks(record: dict[str, Any]) -> dict[str, Any]:
    """Seconds under ``timing``: all else is the same for the same seed."""
    seconds = [point.pop("seconds") for point in record["points"]]
    return {**record, "timing": {"seconds": seconds}}
