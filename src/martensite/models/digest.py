"""A model is what it computes with: weights, buffers and input conventions, hashed."""

import hashlib

import torch

from martensite.core.config import canonical_json
from martensite.models.access import Model
from martensite.models.classifier import Classifier


def model_digest(model: Classifier) -> str:
    """``"sha256:..."`` of every tensor (name, dtype, shape, bytes) and of classes, box, mean and std.

    A network's own ``conventions`` (a mapping that JSON can hold) count too: what decides its answers and is no tensor.
    """
    conventions = {
        "classes": model.classes,
        "box": model.box,
        "mean": model.mean.tolist(),
        "std": model.std.tolist(),
        "normalises": model.normalises,
    }
    if own := getattr(model.net, "conventions", None):
        conventions["net"] = own
    hasher = hashlib.sha256(b"martensite-model-1 " + canonical_json(conventions).encode())
    for name, tensor in sorted(model.net.state_dict().items()):
        hasher.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return "sha256:" + hasher.hexdigest()


def identity(model: Model) -> str:
    """What a report calls a model: its digest, where it has one, or else where its answers come from.

    A black box may name itself by an attribute ``digest``; ``"unnamed:..."`` recognises nothing.
    """
    if isinstance(model, Classifier):
        return model_digest(model)
    return str(getattr(model, "digest", None) or f"unnamed:{type(model).__name__}")
