"""MODEL on the command line of ``evaluate``: whatever `model_source` takes, and models that only answer queries."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.models import BlackBox, Classifier, Model
    from martensite.threat import ThreatModel

REMOTE = ("http://", "https://")
TOKEN = "MARTENSITE_TOKEN"  # never on the command line, which others see
DISTILLED = "distilled"


def load_any(
    source: str, weights: Path | None, data: "Dataset", trust_code: bool = False, manners: Sequence[str] = ()
) -> "tuple[Model, ThreatModel | None]":
    """The model that MODEL names, and the threat model of its bundle.

    Args:
        source: A bundle or factory; a ``.onnx`` file, a ``.skops`` file, or the URL of an Open Inference Protocol v2 model. A
            factory may also return a fitted scikit-learn estimator, or a `BlackBox` around any callable.
        weights: For a factory's module.
        data: What the model is for.
        trust_code: See `load_model`.
        manners: ``"NAME=VALUE"``, fields of `Manners`, for an endpoint; the token comes from the environment (`TOKEN`).

    Raises:
        ArtifactError, ModelError: see `load_model`, `load_onnx`, `load_skops` and `connect`.
        ConfigError: manners without an endpoint, or that don't exist.
    """
    from martensite.cli import options
    from martensite.cli.model_source import Source, as_classifier, check_source, load_model, made_by
    from martensite.models import Manners, connect, load_onnx, load_skops

    remote, suffix = source.startswith(REMOTE), Path(source).suffix
    if manners and not remote:
        raise ConfigError(f"--endpoint was given with {source}", "it says how a URL is asked", "leave --endpoint out")
    if not remote and source.rpartition(":")[0] and not Path(source).exists():
        made = made_by(source)
        if (box := _only_queried(made, data)) is not None:
            if weights is not None:
                raise ArtifactError(f"--weights was given with {source}", "its model has no module", "leave --weights out")
            return box, None
        own = Source(as_classifier(made, source, weights, data.classes), None, ())
        check_source(own, source, data)
        return own.model, None
    if not remote and suffix not in (".onnx", ".skops"):
        found = load_model(source, weights, data, trust_code=trust_code)
        return found.model, found.threat
    if weights is not None:
        raise ArtifactError(f"--weights was given with {source}", "it holds its own", "leave --weights out")
    if remote:
        plan = Manners.parse(options.read_settings(list(manners)))
        return connect(source, data.classes, data.box, manners=plan, token=os.environ.get(TOKEN)), None
    load = load_onnx if suffix == ".onnx" else load_skops
    return load(Path(source), data.classes, data.box), None


def load_surrogates(sources: Sequence[str], data: "Dataset", trust_code: bool = False) -> "tuple[dict[str, Classifier], bool]":
    """The models that ``--surrogate`` names, by name, and whether one is to be distilled.

    Raises:
        ArtifactError, ModelError: see `load_model`.
        ConfigError: one that is there twice.
    """
    from martensite.cli.model_source import load_model

    if len(set(sources)) < len(sources):
        raise ConfigError(f"--surrogate {' --surrogate '.join(sources)}", "each is given once", "leave the second out")
    named: dict[str, Classifier] = {}
    for source in sources:
        if source != DISTILLED:
            name = Path(source.rpartition(":")[2] or source).name
            if name in {"model", DISTILLED, *named}:  # a name of the report's own, or of another one
                name = f"surrogate {source}"
            named[name] = load_model(source, None, data, trust_code=trust_code).model
    return named, DISTILLED in sources


def _only_queried(made: Any, data: "Dataset") -> "BlackBox | None":
    """What a factory returned, if it has no module: a black box, or a fitted estimator."""
    from torch import nn

    from martensite.models import BlackBox, from_estimator

    if isinstance(made, BlackBox):
        return made
    if not isinstance(made, nn.Module) and hasattr(made, "predict"):
        return from_estimator(made, data.classes, data.box)
    return None
