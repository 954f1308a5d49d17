"""The defences of a bundle: their configuration in model.json, what detectors learnt in a safetensors file beside it."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from martensite.artifacts.manifest import Manifest
from martensite.artifacts.weights import parse_tensors
from martensite.core.errors import ArtifactError, ConfigError, ModelError
from martensite.defenses import Defence, Defended, Detector, Fitted
from martensite.models import Classifier
from martensite.models.digest import model_digest

DEFENCE = "defence.safetensors"
# Of numbers. Beyond it detectors are not tried when a bundle is loaded: who altered it may have asked for terabytes.
LARGEST_INPUT = 2**22
CLEAN = "clean"  # the name of a detector's scores of clean data, beside its own tensors


@dataclass(frozen=True)
class Packed:
    """What a bundle says of defences: names, configuration, and the content of `DEFENCE`; empty and None without any."""

    names: tuple[str, ...] = ()
    record: dict[str, Any] | None = None
    content: bytes | None = None


def bare(model: Classifier) -> Classifier:
    """The model without its defences."""
    return model.base if isinstance(model, Defended) else model


def pack(model: Classifier) -> Packed:
    """What to write of a model's defences.

    Raises:
        ModelError: detectors that were calibrated on other weights.
    """
    if not isinstance(model, Defended):
        return Packed()
    tensors: dict[str, torch.Tensor] = {}
    for place, one in enumerate(model.fitted):
        if one.about != model_digest(model.base):
            raise ModelError(
                f"the detector {one.detector.kind} was fitted to other weights",
                "its alarm rate holds for the model that it was calibrated on",
                "defend() the trained model once more",
            )
        tensors |= {f"{place}.{name}": tensor for name, tensor in {**one.state, CLEAN: one.calibrated}.items()}
    content = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}) if tensors else None
    return Packed(model.defence.names, model.defence.model_dump(mode="json"), content)


def guard(manifest: Manifest, model: Classifier, content: bytes | None) -> Classifier:
    """The model with the defences of its manifest; the model itself if there are none.

    Args:
        manifest: Its ``defence`` was checked by `check_defences`.
        model: As the weights give it.
        content: Of `DEFENCE`; None: there is no such file.

    Raises:
        ArtifactError: tensors that are missing, left over, or don't fit.
    """
    if manifest.defence is None:
        return model
    defence, tensors = Defence.parse(manifest.defence), {} if content is None else parse_tensors(Path(DEFENCE), content)
    about, fitted = model_digest(model), []
    for place, detector in enumerate(defence.detectors):
        state = {name.partition(".")[2]: tensors.pop(name) for name in list(tensors) if name.startswith(f"{place}.")}
        fitted.append(_fitted(detector, model, state, defence.false_alarms / len(defence.detectors), about))
    if tensors:
        raise _odd(f"{min(tensors)} belongs to no detector")
    model = Defended(model, defence, fitted).eval()
    if fitted and manifest.shape and prod(manifest.shape) <= LARGEST_INPUT:
        try:
            model.respond(torch.full((2, *manifest.shape), manifest.box[0]))
        except (RuntimeError, KeyError, IndexError) as error:
            raise _odd((str(error).strip().splitlines() or ["?"])[0]) from None
    return model


def _fitted(detector: Detector, model: Classifier, state: dict[str, torch.Tensor], rate: float, about: str) -> Fitted:
    clean = state.pop(CLEAN, None)
    if clean is None or clean.dtype != torch.float64 or clean.dim() != 1 or not len(clean):
        raise _odd(f"the detector {detector.kind} has no scores of clean data")
    if not bool(clean.isfinite().all() and (clean.diff() >= 0).all()):
        raise _odd(f"the clean scores of {detector.kind} don't rise")
    return Fitted(detector, model, state, clean, rate, about)


def _odd(value: str) -> ArtifactError:
    return ArtifactError(
        f"{DEFENCE} doesn't fit: {value}", "it holds what each detector of model.json learnt", "fetch the bundle again"
    )


def check_defences(path: Path, manifest: Manifest) -> None:
    """Refuse a bundle whose defences can't be rebuilt here.

    Raises:
        ArtifactError: one that this version doesn't know, or names that aren't those of the configuration.
    """
    if manifest.defence is None and not manifest.defences:
        return
    rule = "a model isn't loaded without the defences that its maker measured it with"
    try:
        known = () if manifest.defence is None else Defence.parse(manifest.defence).names
    except ConfigError as error:
        names = ", ".join(manifest.defences) or "that model.json describes"
        raise ArtifactError(
            f"{path} needs the defences {names}: {error.value}", rule, "use a version of Martensite that has them"
        ) from None
    if known != manifest.defences:
        names = ", ".join(manifest.defences)
        raise ArtifactError(
            f"{path} needs the defences {names}", rule, "use a version of Martensite that has them, or fetch it again"
        )
