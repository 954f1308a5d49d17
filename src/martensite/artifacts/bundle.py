"""A bundle: a folder with a model's weights and everything needed to use it rightly, loaded without running anyone's code.

    model.safetensors    weights and buffers, raw tensors
    model.json           architecture, input shape and box, classes, normalisation, threat model, digests of the files

`load_bundle` hashes the very bytes that it loads, so nothing can change between the check and the use.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load, save

from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, ModelError
from martensite.core.files import sha256, whole_folder, write_bytes, write_text
from martensite.models import ARCHITECTURES, Architecture, Classifier, describe
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

WEIGHTS, MANIFEST = "model.safetensors", "model.json"
LARGEST_MANIFEST = 16 * 2**20  # bytes; a real one has a few thousand


class Manifest(Config):
    """model.json: how to rebuild and use the model.

    Attributes:
        architecture: A registered architecture's configuration.
        shape: Shape of one input.
        classes: K.
        class_names: One a class; empty if not known.
        box: Lowest and highest valid input value.
        mean: Subtracted inside the model; None: no normalisation.
        std: Divided by inside the model.
        dtype: Of the weights.
        threat: What the model was hardened against; None: nothing.
        digest: Of the model: weights and input conventions.
        files: SHA-256 of every other file of the bundle.
    """

    format: Literal["martensite-bundle-1"] = "martensite-bundle-1"
    architecture: dict[str, Any]
    shape: tuple[PositiveInt, ...]
    classes: PositiveInt
    class_names: tuple[str, ...] = ()
    box: tuple[float, float]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    dtype: Literal["float16", "bfloat16", "float32", "float64"]
    threat: ThreatModel | None
    digest: str
    files: dict[str, str]


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
        ModelError: no code-free description of the network exists.
        ArtifactError: the path holds something that is no bundle.
        StorageError: the disk refused the write.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))):
        raise ArtifactError(f"{path} exists and is no bundle", "only a bundle is replaced", "choose another path")
    architecture, shape = _describe(model), shape or model.shape
    weights = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.net.state_dict().items()})
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
    with whole_folder(path) as folder:
        write_bytes(folder / WEIGHTS, weights)
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return path


def load_bundle(path: str | Path) -> Classifier:
    """Load a model in evaluation mode; nothing of the bundle is executed.

    Raises:
        ArtifactError: missing, truncated or altered files, or a pickle where a bundle is expected.
        ConfigError: an architecture that isn't registered.
    """
    path = Path(path)
    manifest = read_manifest(path)
    content = _read(path / WEIGHTS)
    if sha256(content) != manifest.files.get(WEIGHTS):
        raise ArtifactError(
            f"{path / WEIGHTS} has digest {sha256(content)[:19]}...",
            f"{MANIFEST} says {str(manifest.files.get(WEIGHTS))[:19]}...",
            "the file was altered or truncated: fetch it again",
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ArtifactError(f"{path / WEIGHTS} is no safetensors file: {error}", "it is truncated or altered") from None
    try:
        with torch.random.fork_rng(devices=[]):
            net = ARCHITECTURES.build(manifest.architecture).module(manifest.shape, manifest.classes)
        net = net.to(getattr(torch, manifest.dtype))
        net.load_state_dict(tensors)
        model = Classifier(
            net,
            manifest.classes,
            manifest.mean,
            manifest.std,
            manifest.box,
            manifest.shape or None,
            ARCHITECTURES.build(manifest.architecture),
        )
    except ConfigError:
        raise
    except (MartensiteError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{path} can't be rebuilt: {reason}", f"{MANIFEST} and {WEIGHTS} must fit each other") from None
    model.eval()
    if model_digest(model) != manifest.digest:
        raise ArtifactError(
            f"{path} has model digest {model_digest(model)[:19]}...",
            f"{MANIFEST} says {manifest.digest[:19]}...",
            "classes, box or normalisation were altered: fetch the bundle again",
        )
    return model


def read_manifest(path: str | Path) -> Manifest:
    """model.json of a bundle, checked.

    Raises:
        ArtifactError: missing, not JSON, or not such a manifest.
    """
    path = Path(path)
    if path.is_file():
        raise ArtifactError(f"{path} is a file", "a bundle is a folder", refusal(path))
    content = _read(path / MANIFEST)
    try:
        return Manifest.model_validate_json(content)
    except (ValueError, MartensiteError) as error:
        raise ArtifactError(
            f"{path / MANIFEST} is no manifest: {str(error).splitlines()[0]}", "it is truncated or altered"
        ) from None


def refusal(path: Path) -> str:
    """What to do with a weights file that isn't safetensors."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return "give a bundle folder"
    # Pickle protocols 2 to 5 start with 0x80; torch.save writes a zip of pickles.
    if head[:1] == b"\x80" or head[:2] == b"PK" or path.suffix in (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"):
        return (
            "it looks like a pickle, which can run code when it is loaded. Convert it where that is safe: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )
    return "give a bundle folder, or --weights with a .safetensors file"


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a lone safetensors file.

    Raises:
        ArtifactError: missing, truncated, or another format; a pickle is refused with how to convert it.
    """
    content = _read(path)
    try:
        return load(content)
    except SafetensorError:
        raise ArtifactError(f"{path} is no safetensors file", "weights are loaded from safetensors only", refusal(path)) from None


def _describe(model: Classifier) -> Architecture:
    architecture = model.architecture or describe(model.net)
    if architecture is None:
        raise ModelError(
            f"{type(model.net).__name__} is not a registered architecture",
            "a bundle is rebuilt from a description, never from pickled code",
            "use a registered architecture (register yours with ARCHITECTURES.register), or torch.nn.Sequential of standard layers",
        )
    return architecture


def _read(path: Path) -> bytes:
    try:
        if path.name == MANIFEST and path.stat().st_size > LARGEST_MANIFEST:
            raise ArtifactError(f"{path} has {path.stat().st_size} bytes", f"a manifest has at most {LARGEST_MANIFEST}")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the folder that save_bundle wrote") from None
