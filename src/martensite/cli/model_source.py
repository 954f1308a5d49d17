"""MODEL on the command line: a bundle, or a factory in Python."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.core.config import nearest
from martensite.core.errors import ArtifactError, MartensiteError, ModelError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.models import Classifier
    from martensite.threat import ThreatModel


@dataclass(frozen=True)
class Source:
    """A model with what its bundle says of it."""

    model: "Classifier"
    threat: "ThreatModel | None"
    class_names: tuple[str, ...]


def load_model(
    source: str, weights: Path | None, data: "Dataset", also: Sequence[str] = (), *, trust_code: bool = False
) -> Source:
    """The model that MODEL names, tried on the data.

    Args:
        source: See ``options.MODEL_HELP``.
        weights: safetensors file for a factory's module.
        data: What the model is for; its number of classes is what a factory's bare module is wrapped with.
        also: Names that the command takes beside those, for the message.
        trust_code: A bundle may name any function as its architecture, which then runs.

    Raises:
        ArtifactError: no such bundle, a pickle, altered files.
        ModelError: no such factory, it fails or returns no module, or the model doesn't fit the data.
    """
    from martensite.artifacts import load_bundle, read_manifest

    if source.startswith(("http://", "https://")) or source.endswith(".onnx"):
        raise ModelError(
            f"{source} answers queries only",
            "the attacks of this version need gradients",
            "give a bundle or a factory of a torch module",
        )
    if source.rpartition(":")[0] and not Path(source).exists():
        found = Source(as_classifier(made_by(source), source, weights, data.classes), None, ())
    elif weights is not None:
        rule = "an architecture is trained anew" if source in also else "a bundle holds its weights"
        raise ArtifactError(f"--weights was given with {source}", rule, "leave --weights out, or give a factory")
    elif not Path(source).exists():
        remedy = f"check the path; {nearest(source, also)}" if also else "check the path"
        raise ArtifactError(f"{source} does not exist", "MODEL is a bundle folder or package.module:factory", remedy)
    else:
        manifest = read_manifest(source)
        found = Source(load_bundle(source, trust_code=trust_code), manifest.threat, manifest.class_names)
    check_source(found, source, data, also)
    return found


def check_source(found: Source, source: str, data: "Dataset", also: Sequence[str] = ()) -> None:
    """Try a model on the data; arguments and errors as in `load_model`."""
    from martensite.models import probe

    if tuple(found.model.box) != tuple(data.box):
        raise ModelError(
            f"{source} takes inputs in the box {list(found.model.box)} and the data lies in {list(data.box)}",
            "both must mean the same inputs",
            f"build the Classifier with box={tuple(data.box)}, and normalise inside by mean= and std=",
        )
    if not also:  # a command that trains anew may give the outputs another meaning
        _check_names(source, found.class_names, data.class_names)
    probe(found.model, data.x[:2])


def _check_names(source: str, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    """Labels in text are numbered as they come: in a part of the data the same number may mean another class."""
    numbered = any(names == tuple(map(str, range(len(names)))) for names in (ours, theirs))
    if not numbered and ours != theirs:
        first = next(((a, b) for a, b in zip(ours, theirs, strict=False) if a != b), None)
        what = (
            f"class {ours.index(first[0])} {first[0]!r} and {first[1]!r}" if first else f"{len(ours)} and {len(theirs)} classes"
        )
        raise ModelError(
            f"{source} and the data name {what}", "a class number must mean the same to both", "give data with the same classes"
        )


def made_by(source: str) -> Any:
    """What the factory ``package.module:factory`` or ``path/file.py:factory`` returns.

    Raises:
        ModelError: no such factory, or it fails.
    """
    place, _, factory = source.rpartition(":")
    with _theirs(place):
        function = getattr(_module(place), factory, None)
    if not callable(function):
        raise ModelError(f"{place} has no function {factory!r}", "MODEL is module:factory", "check the name after the colon")
    with _theirs(f"{factory}() of {place}"):
        return function()


def as_classifier(made: Any, source: str, weights: Path | None, classes: int) -> "Classifier":
    """What a factory returned, as a classifier, with weights from a file.

    Raises:
        ModelError: no module, or weights that don't fit it.
    """
    from torch import nn

    from martensite.artifacts import read_weights
    from martensite.models import Classifier

    factory = source.rpartition(":")[2]
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
                f"{weights} doesn't fit the module of {factory}(): {reason[:300]}",
                "names and shapes must agree",
                "save the state_dict of this very module",
            ) from None
    return model.eval()


@contextmanager
def _theirs(what: str) -> Iterator[None]:
    """What goes wrong inside the caller's own code is theirs to mend."""
    try:
        yield
    except MartensiteError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{what} raised {type(error).__name__}: {error}",
            "a factory is a function without arguments that returns the module",
            "mend it; --debug shows where",
        ) from error


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return _imported("", place)
    path = Path(place)
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "MODEL is path/file.py:factory", "check the path")
    spec = importlib.util.spec_from_file_location(f"martensite_model.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} can't be imported", "a Python file is needed", "give another file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and others look their own module up
    with _searched(str(path.resolve().parent)):
        spec.loader.exec_module(module)
    return module


def _imported(folder: str, name: str) -> Any:
    with _searched(folder):  # as `python -m` has it: modules beside the caller are found
        try:
            return importlib.import_module(name)
        except ImportError as error:
            remedy = "check the module's name, or give path/file.py"
            raise ModelError(f"{name} can't be imported: {error}", remedy=remedy) from error


@contextmanager
def _searched(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
