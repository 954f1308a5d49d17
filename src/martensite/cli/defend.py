"""martensite defend: put defences around a model."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "defend"
EXAMPLES = """Examples:\n
  martensite defend models/hardened --transform jpeg:quality=75 --out models/defended\n
  martensite defend models/hardened --detector energy --detector mahalanobis --calibrate mnist:data/mnist --split validation \\\n
      --false-alarms 0.01 --out models/defended\n
  martensite defend models/a models/b models/c --ensemble probabilities --calibrate digits --eps 0.1 --out models/three\n
  martensite defend models/noisy --voting sigma=0.25,votes=100 --out models/smoothed"""


def command(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="One; several for an ensemble.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Bundle folder to write.", show_default=False)],
    transforms: Annotated[
        list[str] | None,
        typer.Option(
            "--transform",
            metavar="KIND[:NAME=VALUE,...]",
            help="An input transform; may repeat, applied in the order given: bit_depth, feature_squeezing, gaussian, jpeg, "
            "median, resize_pad, total_variation.",
            show_default=False,
        ),
    ] = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            metavar="KIND[:NAME=VALUE,...]",
            help="A detector; may repeat: energy, intrinsic_dimension, learned:eps=X, mahalanobis, nearest_neighbours, "
            "squeezing.",
            show_default=False,
        ),
    ] = None,
    voting: Annotated[
        str | None,
        typer.Option(
            metavar="sigma=X[,...]", help="Smoothed prediction: a vote under noise, or an abstention.", show_default=False
        ),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Join several bundles: logits, probabilities or vote.", show_default=False),
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Check shape, type, range and NaN of inputs when serving.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="With --rules: YAML of what a row must keep (ranges, whole numbers, one-hot groups, relations).",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Clean data that the model was not trained on, for detectors and an ensemble's diversity. " + options.DATA_HELP,
            show_default=False,
        ),
    ] = None,
    false_alarms: Annotated[
        str, typer.Option(metavar="RATE", help="Share of clean inputs on which the detectors together may ring.")
    ] = "0.01",
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    norm: options.NormOption = None,
    eps: options.Eps = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> int:
    """Put input transforms, detectors, a vote or other models around a model, as a new bundle."""
    from martensite.artifacts import load_bundle, read_manifest, save_bundle
    from martensite.artifacts.bundle import check_savable, read_preprocess
    from martensite.cli.defences import ensemble_of, read_parts, same_preparation, show_defences
    from martensite.cli.output import print_json, show_warnings
    from martensite.core.config import to_number
    from martensite.core.errors import ConfigError
    from martensite.defenses import Defended, InputRules, defend, masked
    from martensite.models.digest import model_digest
    from martensite.threat import Constraints

    rate = to_number(false_alarms)
    if rate is None:
        raise ConfigError(f"--false-alarms is {false_alarms!r}", "a number is needed", "e.g. 0.01")
    manifests = [read_manifest(bundle) for bundle in bundles]
    models = [load_bundle(bundle, trust_code=trust_code) for bundle in bundles]
    first, factory = manifests[0], manifests[0].architecture.get("factory")
    model = ensemble_of(bundles, manifests, models, ensemble)
    if rules and not first.shape:
        raise ConfigError(f"{bundles[0]} states no input shape", "rules check it", "save the bundle with shape=")
    if table is not None and not rules:
        raise ConfigError(f"--table {table} was given without --rules", "it is one of the rules", "add --rules")
    schema = Constraints.from_yaml(table) if table is not None else None
    plan = read_parts(
        transforms or [],
        detectors or [],
        voting,
        rate,
        InputRules.of(model, first.shape, schema) if rules else None,
        hardened=all(one.threat is not None for one in manifests),
        ensemble=ensemble is not None,
    )
    check_savable(model, out, shape=first.shape or None, factory=factory)
    data = None if calibrate is None else options.dataset(calibrate, split, label, scale, samples)
    known = next((one.threat for one in manifests if one.threat is not None), None)
    stated = options.threat_model(norm, eps, None, known, model.box) if ensemble is not None and data is not None else None
    made = model if plan is None else defend(model, plan, data, seed=seed)
    preprocess = same_preparation(bundles, [read_preprocess(bundle) for bundle in bundles])
    threat = first.threat if all(one.threat == first.threat for one in manifests) else None
    save_bundle(
        made, out, threat=threat, shape=first.shape or None, class_names=first.class_names, preprocess=preprocess, factory=factory
    )
    diverse = None
    if stated is not None and data is not None:
        from martensite.defenses import members_of
        from martensite.evaluation.diversity import diversity

        members = dict(zip([str(bundle) for bundle in bundles], members_of(model), strict=True))
        diverse = diversity(members, data, stated, seed=seed)
    warning = "" if plan is None else masked(plan)
    if json:
        document = {
            "bundle": str(out),
            "digest": model_digest(made),
            "defences": [] if plan is None else list(plan.names),
            "defence": None if plan is None else plan.model_dump(mode="json"),
            "calibration": [len(one.calibrated) for one in made.fitted] if isinstance(made, Defended) else [],
            "diversity": None if diverse is None else diverse.model_dump(mode="json"),
            "warnings": [warning] if warning else [],
        }
        print_json(document)
        return 0
    show_warnings((warning,) if warning else ())
    show_defences(out, made, plan, diverse)
    return 0
