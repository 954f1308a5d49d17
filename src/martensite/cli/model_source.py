"""MODEL on the command line: a bundle, or a factory in Python."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.core.errors import ArtifactError, ModelError

if TYPE_CHECKING:
    from martensite.models import Classifier
    from martensite.threat import ThreatModel


@dataclass(frozen=True)
class Source:
    """A model with what its bundle says of it."""

    model: "Classifier"
    threat: "ThreatModel | None"
    class_names: tuple[str, ...]


def load_model(source: str, weights: Path | None, classes: int) -> Source:
    """The model that MODEL names.

    Args:
        source: See ``options.MODEL_HELP``.
        weights: safetensors file for a factory's module.
        classes: Of the data: what a factory's bare module is wrapped with.

    Raises:
        ArtifactError: no such bundle, a pickle, altered files.
        ModelError: no such factory, or it returns no module.
    """
    from martensite.artifacts import load_bundle, read_manifest

    path, _, factory = source.rpartition(":")
    if path and not Path(source).exists() and not source.startswith(("http://", "https://")):
        return Source(_from_factory(path, factory, weights, classes), None, ())
    if source.startswith(("http://", "https://")) or source.endswith(".onnx"):
        raise ModelError(
            f"{source} answers queries only",
            "the attacks of this version need gradients",
            "give a bundle or a factory of a torch module",
        )
    if weights is not None:
        raise ArtifactError("--weights was given with a bundle", "a bundle holds its weights", "leave --weights out")
    if not Path(source).exists():
        raise ArtifactError(f"{source} does not exist", "MODEL is a bundle folder or package.module:factory", "check the path")
    manifest = read_manifest(source)
    return Source(load_bundle(source), manifest.threat, manifest.class_names)


def _from_factory(place: str, factory: str, weights: Path | None, classes: int) -> "Classifier":
    from torch import nn

    from martensite.artifacts import read_weights
    from martensite.models import Classifier

    module = _module(place)
    function = getattr(module, factory, None)
    if not callable(function):
        raise ModelError(f"{place} has no function {factory!r}", "MODEL is module:factory", "check the name after the colon")
    made = function()
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{factory}() returned {type(made).__name__}", "a torch module or Classifier is needed", "return the module"
        )
    model = made if isinstance(made, Classifier) else Classifier(made, classes)
    if weights is not None:
        try:
            model.net.load_state_dict(read_weights(weights))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{weights} doesn't fit the module of {factory}(): {reason[:300]}", "names and shapes must agree"
            ) from None
    return model.eval()


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        sys.path.insert(0, "")  # as `python -m` has it: modules beside the caller are found
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise ModelError(
                f"{place} can't be imported: {error}", remedy="check the module's name, or give path/file.py"
            ) from None
        finally:
            sys.path.remove("")
    path = Path(place)
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "MODEL is path/file.py:factory", "check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} can't be imported", "a Python file is needed")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
