"""A bundle: a folder with a model's weights and everything needed to use it rightly, loaded without running anyone's code.

    model.safetensors    weights and buffers, raw tensors
    model.json           architecture, input shape and box, classes, normalisation, threat model, digests of the files

`save_bundle` rebuilds the model from what it is about to write, and `load_bundle` hashes the very bytes that it loads: neither
trusts that what was meant is what is there.
"""

import json
import os
from pathlib import Path

from safetensors.torch import save

from martensite.artifacts.manifest import LARGEST, MANIFEST, Manifest, read_manifest
from martensite.artifacts.rebuild import description, rebuild
from martensite.artifacts.weights import parse_tensors, read_file
from martensite.core.errors import ArtifactError, ConfigError, ModelError
from martensite.core.files import sha256, whole_folder, write_bytes, write_text
from martensite.models import Architecture, Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

WEIGHTS = "model.safetensors"


def save_bundle(
    model: Classifier,
    path: str | Path,
    *,
    threat: ThreatModel | None = None,
    shape: tuple[int, ...] | None = None,
    class_names: tuple[str, ...] = (),
) -> Path:
    """Write a bundle; the folder appears whole or not at all, and replaces a bundle that was there.

    Args:
        model: A model of a registered architecture, or of standard torch layers in sequence.
        path: The folder.
        threat: What the model was hardened against.
        shape: Shape of one input, if the model doesn't know it.
        class_names: One a class.

    Returns:
        The folder.

    Raises:
        ModelError: no code-free description of the network exists, or none that gives the very same model back.
        ConfigError: not one class name a class.
        ArtifactError: the path holds something that is no bundle.
        StorageError: the disk refused the write.
    """
    architecture, shape = check_savable(model, path, shape=shape), shape or model.shape
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.net.state_dict().items()}
    weights = save(tensors)
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
        digest=model_digest(model),
        files={WEIGHTS: sha256(weights)},
    )
    if model_digest(rebuild(manifest, tensors)) != manifest.digest:
        raise ModelError(
            "the model that its bundle gives back is another one",
            "in a bundle all weights, mean and std have one floating-point type",
            "convert the whole Classifier, e.g. model.to(torch.float32)",
        )
    with whole_folder(Path(path).resolve()) as folder:  # resolved: a link stays, and what it points to is replaced
        write_bytes(folder / WEIGHTS, weights)
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return Path(path)


def check_savable(model: Classifier, path: str | Path, *, shape: tuple[int, ...] | None = None) -> Architecture:
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
    return description(model, shape or model.shape or ())


def load_bundle(path: str | Path) -> Classifier:
    """Load a model in evaluation mode; nothing of the bundle is executed.

    Raises:
        ArtifactError: missing, truncated or altered files, or a pickle where a bundle is expected.
        ConfigError: an architecture that isn't registered.
    """
    path = Path(path)
    manifest = read_manifest(path)
    content = read_file(path / WEIGHTS, "fetch the bundle again")
    if sha256(content) != manifest.files.get(WEIGHTS):
        raise ArtifactError(
            f"{path / WEIGHTS} has digest {sha256(content)[:19]}...",
            f"{MANIFEST} says {str(manifest.files.get(WEIGHTS))[:19]}...",
            "the file was altered or truncated: fetch it again",
        )
    try:
        model = rebuild(manifest, parse_tensors(path / WEIGHTS, content))
    except (ArtifactError, ConfigError):
        raise
    except Exception as error:  # whatever torch makes of a description that someone altered
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        rule = f"{MANIFEST} and {WEIGHTS} must fit each other"
        raise ArtifactError(f"{path} can't be rebuilt: {reason}", rule, "fetch the bundle again") from None
    if model_digest(model) != manifest.digest:
        raise ArtifactError(
            f"{path} has model digest {model_digest(model)[:19]}...",
            f"{MANIFEST} says {manifest.digest[:19]}...",
            "classes, box or normalisation were altered: fetch the bundle again",
        )
    return model


def _replaceable(path: Path) -> bool:
    """An empty folder or a bundle. model.json alone proves nothing: other tools' folders hold one, too."""
    if not path.is_dir():
        return False
    inside = {entry.name for entry in path.iterdir()}
    if not inside <= {WEIGHTS, MANIFEST}:
        return False
    try:
        return not inside or str(json.loads(read_file(path / MANIFEST, "", LARGEST))["format"]).startswith("martensite-bundle-")
    except (ArtifactError, ValueError, LookupError, TypeError, RecursionError):
        return False
