"""MODEL on the command line of ``evaluate``: whatever `model_source` takes, and models that only answer queries."""

from pathlib import Path
from typing import TYPE_CHECKING

from martensite.core.errors import ArtifactError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.models import Model
    from martensite.threat import ThreatModel

REMOTE = ("http://", "https://")


def load_any(source: str, weights: Path | None, data: "Dataset", trust_code: bool = False) -> "tuple[Model, ThreatModel | None]":
    """The model that MODEL names, and the threat model of its bundle.

    Args:
        source: A bundle or factory; a ``.onnx`` file, a ``.skops`` file, or the URL of an Open Inference Protocol v2 model.
        weights: For a factory's module.
        data: What the model is for.
        trust_code: See `load_model`.

    Raises:
        ArtifactError, ModelError: see `load_model`, `load_onnx`, `load_skops` and `connect`.
    """
    from martensite.cli.model_source import load_model
    from martensite.models import connect, load_onnx, load_skops

    remote, suffix = source.startswith(REMOTE), Path(source).suffix
    if not remote and suffix not in (".onnx", ".skops"):
        found = load_model(source, weights, data, trust_code=trust_code)
        return found.model, found.threat
    if weights is not None:
        raise ArtifactError(f"--weights was given with {source}", "it holds its own", "leave --weights out")
    if remote:
        return connect(source, data.classes, data.box), None
    load = load_onnx if suffix == ".onnx" else load_skops
    return load(Path(source), data.classes, data.box), None
