"""From a manifest and tensors to the model, with no code but that of its architecture."""

import torch
from torch import Tensor, nn

from martensite.artifacts.manifest import Manifest
from martensite.core.errors import MartensiteError, ModelError
from martensite.models import Architecture, Classifier, describe


def rebuild(manifest: Manifest, tensors: dict[str, Tensor], architecture: Architecture) -> Classifier:
    """The model, in evaluation mode. What an altered manifest makes torch raise, it raises.

    Raises:
        ModelError: the tensors have other names or shapes than the architecture's.
    """
    _check_sizes(architecture, manifest, tensors)
    net = _module(architecture, manifest.shape, manifest.classes).to(getattr(torch, manifest.dtype))
    net.load_state_dict(tensors)
    shape = manifest.shape or None
    return Classifier(net, manifest.classes, manifest.mean, manifest.std, manifest.box, shape, architecture).eval()


def description(model: Classifier, shape: tuple[int, ...]) -> Architecture:
    """The registered architecture, or list of standard layers, that gives this network back.

    Raises:
        ModelError: there is none.
    """
    if type(model) is Classifier:
        for architecture in (model.architecture, describe(model.net)):
            if architecture is not None and _explains(architecture, model, shape):
                return architecture
    raise ModelError(
        f"no architecture describes this {type(model.net if type(model) is Classifier else model).__name__}",
        "a bundle is rebuilt from a description, never from pickled code",
        "use a registered architecture as it was built (register yours with ARCHITECTURES.register), "
        "or torch.nn.Sequential of standard layers without hooks, in a plain Classifier; or name the function that makes it: "
        "factory='package.module:function'",
    )


def _explains(architecture: Architecture, model: Classifier, shape: tuple[int, ...]) -> bool:
    """Whether it gives this network back: layers may have been exchanged, or changed by a hook, since it was built."""
    try:
        twin = _module(architecture, shape, model.classes)
    except MartensiteError:
        return False
    parts = (model, *model.net.modules())
    hooked = any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in parts)
    # A module's text holds its layers with their settings; weights are compared when the model is rebuilt.
    return not hooked and repr(twin) == repr(model.net)


def _module(architecture: Architecture, shape: tuple[int, ...], classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return architecture.module(shape, classes)


def _check_sizes(architecture: Architecture, manifest: Manifest, tensors: dict[str, Tensor]) -> None:
    """Compare names and shapes on the meta device, where a layer takes no memory, whatever an altered manifest asks for."""
    try:
        with torch.device("meta"):
            wanted = architecture.module(manifest.shape, manifest.classes).state_dict()
    except Exception:
        return  # what can't be built there is built for real, and then says what is wrong
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        raise ModelError(f"{odd[0]} is {'missing' if odd[0] in wanted else 'not a weight of this architecture'}")
    for name in wanted:
        if wanted[name].shape != tensors[name].shape:
            raise ModelError(f"{name} is {tuple(tensors[name].shape)} and should be {tuple(wanted[name].shape)}")
