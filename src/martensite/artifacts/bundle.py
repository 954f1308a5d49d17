"""A bundle: a folder with a model's weights and everything needed to use it rightly, loaded without running anyone's code.

    model.safetensors    weights and buffers, raw tensors
    model.json           architecture, input shape and box, classes, normalisation, threat model, digests of the files
    preprocess.json      optional: how raw inputs become what the model takes
    defence.safetensors  optional: what detectors learnt, and how clean data scores
    reference.safetensors  optional: how the data looked that the model was evaluated on; see `reference`
    card.md              for people; no program reads it

`save_bundle` rebuilds the model from what it is about to write, and `load_bundle` hashes the very bytes that it loads: neither
trusts that what was meant is what is there. It reads model.json and the files that this lists, and no others.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from martensite.artifacts.card import CARD, card
from martensite.artifacts.guard import DEFENCE, bare, check_defences, guard, pack
from martensite.artifacts.imported import ALLOWED, Imported, described
from martensite.artifacts.manifest import LARGEST, MANIFEST, Manifest, read_manifest
from martensite.artifacts.preprocess import LARGEST as LARGEST_PREPROCESS
from martensite.artifacts.preprocess import PREPROCESS, Preprocess
from martensite.artifacts.rebuild import description, rebuild
from martensite.artifacts.reference import REFERENCE
from martensite.artifacts.weights import parse_tensors, read_file
from martensite.core.acts import Act, recorded
from martensite.core.errors import ArtifactError, ConfigError, ModelError
from martensite.core.files import sha256, whole_folder, write_bytes, write_text
from martensite.models import Architecture, Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

WEIGHTS = "model.safetensors"
FILES = frozenset({WEIGHTS, MANIFEST, PREPROCESS, DEFENCE, REFERENCE, CARD})


def _saved(given: Mapping[str, Any], _: Path | None) -> Act:
    return Act("model", model_digest(given["model"]), Path(given["path"]).name, details={"path": str(given["path"])})


@recorded("save", _saved, announced=True)
def save_bundle(
    model: Classifier,
    path: str | Path,
    *,
    threat: ThreatModel | None = None,
    shape: tuple[int, ...] | None = None,
    class_names: tuple[str, ...] = (),
    preprocess: Preprocess | None = None,
    factory: str | None = None,
) -> Path:
    """Write a bundle; the folder appears whole or not at all, and replaces a bundle that was there.

    Args:
        model: A model of a registered architecture, or of standard torch layers in sequence; defended or not.
        path: The folder.
        threat: What the model was hardened against.
        shape: Shape of one input, if the model doesn't know it.
        class_names: One a class.
        preprocess: How raw inputs become what the model takes.
        factory: ``"package.module:function"`` that gives the network, for one of your own that no description holds. Such a
            bundle is loaded only by who trusts that code.

    Returns:
        The folder.

    Raises:
        ModelError: no code-free description of the network exists, or none that gives the very same model back; detectors that
            were calibrated on other weights.
        ConfigError: not one class name a class.
        ArtifactError: the path holds something that is no bundle.
        StorageError: the disk refused the write.
    """
    architecture, shape = check_savable(model, path, shape=shape, factory=factory), shape or model.shape
    whole, model, packed = model, bare(model), pack(model)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.net.state_dict().items()}
    weights = save(tensors)
    steps = None if preprocess is None else (preprocess.model_dump_json(indent=2) + "\n").encode()
    manifest = Manifest(
        architecture=architecture.model_dump(mode="json"),
        shape=shape or (),
        classes=model.classes,
        class_names=class_names,
        box=model.box,
        mean=tuple(model.mean.tolist()) if model.normalises else None,
        std=tuple(model.std.tolist()) if model.normalises else None,
        dtype=str(model.dtype).removeprefix("torch."),  # type: ignore[arg-type]
        threat=threat,
        defences=packed.names,
        defence=packed.record,
        digest=model_digest(whole),
        files={
            name: sha256(content)
            for name, content in ((WEIGHTS, weights), (PREPROCESS, steps), (DEFENCE, packed.content))
            if content is not None
        },
    )
    if model_digest(guard(manifest, rebuild(manifest, tensors, architecture), packed.content)) != manifest.digest:
        raise ModelError(
            "the model that its bundle gives back is another one",
            "in a bundle all weights, mean and std have one floating-point type",
            "convert the whole Classifier, e.g. model.to(torch.float32)",
        )
    with whole_folder(Path(path).resolve()) as folder:  # resolved: a link stays, and what it points to is replaced
        write_bytes(folder / WEIGHTS, weights)
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        write_text(folder / CARD, card(manifest, preprocess))
        if steps is not None:
            write_bytes(folder / PREPROCESS, steps)
        if packed.content is not None:
            write_bytes(folder / DEFENCE, packed.content)
    return Path(path)


def check_savable(
    model: Classifier, path: str | Path, *, shape: tuple[int, ...] | None = None, factory: str | None = None
) -> Architecture:
    """Refuse, before any work starts, what `save_bundle` would refuse after it.

    Returns:
        The description from which the network can be rebuilt.

    Raises:
        ModelError: no code-free description of the network exists.
        ArtifactError: the path holds something that is no bundle, or is no place to write to.
    """
    path = Path(path)
    if path.exists() and not _replaceable(path):
        rule = f"only a bundle, {WEIGHTS} and {MANIFEST} in a folder of their own, is replaced"
        raise ArtifactError(f"{path} exists and is no bundle", rule, "choose another path")
    parent = next(folder for folder in path.resolve().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise ArtifactError(f"{path} can't be written", f"{parent} takes no new folder", "choose another path")
    return Imported(factory=factory) if factory is not None else description(bare(model), shape or model.shape or ())


def _loaded(given: Mapping[str, Any], model: Classifier | None) -> Act:
    name, details = Path(given["path"]).name, {"path": str(given["path"])}
    return Act(name=name, details=details) if model is None else Act("model", model_digest(model), name, details=details)


@recorded("load", _loaded)
def load_bundle(path: str | Path, *, allow: Collection[str] = ALLOWED, trust_code: bool = False) -> Classifier:
    """Load a model in evaluation mode, `Defended` if it was saved so; nothing of the bundle is executed.

    Args:
        path: The folder.
        allow: Modules whose functions a bundle may name as its architecture, with all below them.
        trust_code: A bundle may name any function, which is then imported and called.

    Raises:
        ArtifactError: missing, truncated or altered files, a pickle where a bundle is expected, an import path that isn't
            allowed, a defence that this version doesn't know.
        ConfigError: an architecture that isn't registered.
    """
    path = Path(path)
    manifest = read_manifest(path)
    _check_known(path, manifest)
    content = _read_listed(path, manifest, WEIGHTS)
    if PREPROCESS in manifest.files:
        read_preprocess(path, manifest)
    learnt = _read_listed(path, manifest, DEFENCE) if DEFENCE in manifest.files else None
    try:
        architecture = described(manifest.architecture, allow, trust_code)
        model = guard(manifest, rebuild(manifest, parse_tensors(path / WEIGHTS, content), architecture), learnt)
    except (ArtifactError, ConfigError):
        raise
    except Exception as error:  # whatever torch makes of a description that someone altered
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        rule = f"{MANIFEST} and the files it lists must fit each other"
        raise ArtifactError(f"{path} can't be rebuilt: {reason}", rule, "fetch the bundle again") from None
    if model_digest(model) != manifest.digest:
        raise ArtifactError(
            f"{path} has model digest {model_digest(model)[:19]}...",
            f"{MANIFEST} says {manifest.digest[:19]}...",
            "classes, box, normalisation or defences were altered: fetch the bundle again",
        )
    return model


def read_preprocess(path: str | Path, manifest: Manifest | None = None) -> Preprocess | None:
    """preprocess.json of a bundle, checked against model.json; None if that lists none.

    Raises:
        ArtifactError: missing, altered, or not such a file.
    """
    path = Path(path)
    manifest = manifest or read_manifest(path)
    if PREPROCESS not in manifest.files:
        return None
    content = _read_listed(path, manifest, PREPROCESS, LARGEST_PREPROCESS)
    try:
        return Preprocess.model_validate_json(content)
    except (ValueError, ConfigError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{path / PREPROCESS} can't be used: {reason}", "", "fetch the bundle again") from None


def _read_listed(path: Path, manifest: Manifest, name: str, largest: int | None = None) -> bytes:
    """The very bytes that the manifest's digest is of."""
    content = read_file(path / name, "fetch the bundle again", largest)
    if sha256(content) != manifest.files.get(name):
        raise ArtifactError(
            f"{path / name} has digest {sha256(content)[:19]}...",
            f"{MANIFEST} says {str(manifest.files.get(name))[:19]}...",
            "the file was altered or truncated: fetch it again",
        )
    return content


def _check_known(path: Path, manifest: Manifest) -> None:
    if odd := sorted(manifest.files.keys() - {WEIGHTS, PREPROCESS, DEFENCE, REFERENCE}):
        rule = f"a bundle has {WEIGHTS}, {PREPROCESS}, {DEFENCE} and {REFERENCE}"
        raise ArtifactError(f"{path / MANIFEST} lists {odd[0]}", rule, "fetch it again")
    check_defences(path, manifest)


def _replaceable(path: Path) -> bool:
    """An empty folder or a bundle. model.json alone proves nothing: other tools' folders hold one, too."""
    if not path.is_dir():
        return False
    inside = {entry.name for entry in path.iterdir()}
    if not inside <= FILES:
        return False
    try:
        return not inside or str(json.loads(read_file(path / MANIFEST, "", LARGEST))["format"]).startswith("martensite-bundle-")
    except (ArtifactError, ValueError, LookupError, TypeError, RecursionError):
        return False
