"""Options that several commands share, and what they are turned into."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.core.errors import ConfigError, ThreatError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.threat import ThreatModel

MODEL_HELP = (
    "A bundle folder; or 'package.module:factory' or 'path/file.py:factory', a function without arguments "
    "that returns the module (its code runs)."
)
DATA_HELP = "'digits', 'mnist:DIR', FILE.npz, FILE.csv, 'text:FILE', or a folder of images by class."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights for a factory's module: a .safetensors file.", show_default=False),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the code that a bundle names by import path. Read that code first.")
]
Data = Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP)]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="train, validation, test or all. Default: test of digits and mnist, all of a file or folder; of one that "
        "'train' or 'harden' used, give test.",
        show_default=False,
    ),
]
Label = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Label column of a CSV; by default the last.", show_default=False)
]
Scale = Annotated[
    str | None, typer.Option(metavar="HOW", help="'minmax' maps each column of a CSV to [0, 1].", show_default=False)
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use that many samples, every class in proportion; default all.", show_default=False),
]
NormOption = Annotated[
    str | None,
    typer.Option("--norm", metavar="NORM", help="linf, l2, l1 or l0; default: the bundle's, else linf.", show_default=False),
]
Eps = Annotated[
    str | None,
    typer.Option(metavar="EPS", help="Radius in input units: 0.1 or 8/255; default: the bundle's.", show_default=False),
]
Rules = Annotated[
    Path | None,
    typer.Option(
        "--constraints",
        metavar="FILE",
        dir_okay=False,
        help="YAML of what adversarials must keep (immutable features, ranges, whole numbers, relations, levels); "
        "default: the bundle's.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of it; may repeat.", show_default=False),
]
Bundle = Annotated[Path, typer.Option(metavar="DIR", help="Bundle folder to write.", show_default=False)]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help="Checkpoint, written after every epoch; if it is there, training goes on from it.",
        show_default=False,
    ),
]
LogTo = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="KIND:TO",
        help="Write the figures of training: csv:FILE, tensorboard:DIR or mlflow:URI.",
        show_default=False,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", file_okay=False, help="Folder for what is finished: a run that was cut off goes on.", show_default=False
    ),
]
Endpoint = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="How a URL is asked: batch, timeout, retries, backoff, retry_budget, rate; may repeat. The bearer token, if it "
        "needs one, is MARTENSITE_TOKEN of the environment.",
        show_default=False,
    ),
]
Epochs = Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the data.")]
Rate = Annotated[float, typer.Option(metavar="LR", help="Peak learning rate.")]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Samples an update.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random.")]
Markdown = Annotated[
    Path | None,
    typer.Option(metavar="FILE", dir_okay=False, help="A summary for a pull request as well.", show_default=False),
]
Junit = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, help="Self-checks, paired tests and gate as JUnit XML as well.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def dataset(source: str, split: str | None, label: str | None, scale: str | None, samples: int | None) -> "Dataset":
    """The data that the options name."""
    from martensite.data import load_data

    return load_data(source, split, label=label, scale=scale, limit=samples)


def threat_model(
    norm: str | None, eps: str | None, rules: Path | None, bundled: "ThreatModel | None", box: tuple[float, float]
) -> "ThreatModel":
    """The threat model that the options state, or else the one that the bundle was hardened against.

    Raises:
        ThreatError: neither states one.
        ConfigError: a file of constraints that can't be read.
    """
    from martensite.threat import Constraints, ThreatModel

    constraints = Constraints.from_yaml(rules) if rules is not None else bundled.constraints if bundled is not None else None
    if norm is None and eps is None and bundled is not None:
        return ThreatModel(**{**dict(bundled), "constraints": constraints})
    if eps is None:
        raise ThreatError("no --eps was given", "the threat model must be stated once", "give e.g. --norm linf --eps 8/255")
    return ThreatModel.parse(
        {"norm": norm or (bundled.norm if bundled else "linf"), "eps": eps, "box": box, "constraints": constraints}
    )


def threat_models(
    stated: list[str],
    norm: str | None,
    eps: str | None,
    rules: Path | None,
    bundled: "ThreatModel | None",
    box: tuple[float, float],
) -> "list[ThreatModel]":
    """Those that ``--threat NORM:EPS`` states, or the one of `threat_model`.

    Raises:
        ThreatError: none is stated, or in two ways.
        ConfigError: one that can't be read, or is there twice.
    """
    from martensite.evaluation.several import check_different

    if not stated:
        return [threat_model(norm, eps, rules, bundled, box)]
    if norm is not None or eps is not None:
        raise ThreatError(
            "--threat was given with --norm or --eps", "a threat model is stated once", "leave --norm and --eps out"
        )
    pairs = [one.partition(":") for one in stated]
    if bad := next((one for one, (_, colon, _) in zip(stated, pairs, strict=True) if not colon), None):
        raise ConfigError(f"--threat {bad}", "it is NORM:EPS", "e.g. --threat linf:8/255")
    found = [threat_model(name, radius, rules, bundled, box) for name, _, radius in pairs]
    check_different(found)
    return found


def parameters(kind: str, settings: list[str]) -> dict[str, Any]:
    """``kind`` and ``["steps=10"]`` as the mapping that a registry builds from.

    Raises:
        ConfigError: a setting without an equals sign, or of a name that has its value already.
    """
    return read_settings(settings, {"kind": kind})


def read_settings(given: list[str], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """``["steps=10"]`` as names with values, read as YAML.

    Args:
        given: What ``--set`` was given.
        before: Names that have a value already.

    Raises:
        ConfigError: a setting without an equals sign, or of a name that has its value already.
    """
    from martensite.core.config import load_yaml

    pairs = read_pairs(given, "--set steps=100", before)
    return {**(before or {}), **{name: load_yaml(value) for name, value in pairs.items()}}


def read_pairs(given: list[str], example: str, before: dict[str, Any] | None = None) -> dict[str, str]:
    """``["steps=10"]`` as names with texts.

    Raises:
        ConfigError: no equals sign, or a name that has its value already.
    """
    pairs: dict[str, str] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ConfigError(f"{setting!r} is no setting", "a setting is NAME=VALUE", f"e.g. {example}")
        taken = {**{known: repr(value) for known, value in (before or {}).items()}, **pairs}
        if name in taken:
            raise ConfigError(f"{setting!r} was given", f"{name} is {taken[name]} already", "give it once")
        pairs[name] = value
    return pairs
