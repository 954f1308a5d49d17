"""From a network to its description: the inverse of `Layers.module`."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from martensite.core.errors import ConfigError
from martensite.models.layers import DEEPEST, LAYERS, Layers, arguments, build_layer

# What may differ from a freshly made layer: the values of tensors, the children, the train/eval flag.
CONTENTS = {"_parameters", "_buffers", "_modules", "training"}


def describe(net: nn.Module) -> Layers | None:
    """The description from which `Layers.module` rebuilds this network; None if a description can't hold all of it.

    None for a layer that isn't exactly one of `LAYERS` or ``Sequential``, a hook, a parametrisation, a method or
    attribute changed after construction, a tensor in two places. Weights and train/eval flags are no part of it.
    """
    named = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    if len({id(tensor) for _, tensor in named}) < len(named):
        return None
    entry = _entry(net, 1)
    if entry is None:
        return None
    children = entry["layers"] if entry["kind"] == "Sequential" else ()
    # A lone entry means the layer itself, so a Sequential of one layer, or of none, is written out.
    return Layers(layers=tuple(children) if len(children) > 1 else (entry,))


def _entry(module: nn.Module, depth: int) -> dict[str, Any] | None:
    if type(module) is nn.Sequential:
        return _sequential(module, depth)
    kind = type(module).__name__
    if LAYERS.get(kind) is not type(module):
        return None
    known = arguments(kind)
    values = {name: _value(module, name) for name in known}
    given = {name: _as_json(value) for name, value in values.items() if not _is_default(value, known[name])}
    try:
        with torch.device("meta"):
            twin = build_layer({"kind": kind, **given}, depth)
    except ConfigError:
        return None
    return {"kind": kind, **given} if not module._modules and _alike(module, twin) else None


def _sequential(module: nn.Sequential, depth: int) -> dict[str, Any] | None:
    if depth > DEEPEST or not _alike(module, nn.Sequential()):
        return None
    children = []
    for index, (name, child) in enumerate(module._modules.items()):
        entry = None if child is None else _entry(child, depth + 1)
        if entry is None:
            return None
        children.append(entry if name == str(index) else {**entry, "name": name})
    return {"kind": "Sequential", "layers": children}


def _alike(module: nn.Module, twin: nn.Module) -> bool:
    """True if the constructor explains the module, but for its `CONTENTS`: no hook, no patched method or attribute."""
    mine, theirs = vars(module), vars(twin)
    if mine.keys() != theirs.keys():
        return False
    for key in mine.keys() - CONTENTS:
        one, other = _as_json(mine[key]), _as_json(theirs[key])
        if type(one) is not type(other) or one != other:
            return False
    same_parameters = _shapes(module._parameters) == _shapes(twin._parameters)
    return same_parameters and _shapes(module._buffers) == _shapes(twin._buffers)


def _shapes(tensors: Mapping[str, Tensor | None]) -> dict[str, tuple[int, ...] | None]:
    return {name: None if tensor is None else tuple(tensor.shape) for name, tensor in tensors.items()}


def _value(module: nn.Module, argument: str) -> Any:
    # Torch keeps every argument under its own name, but for bias: there lies the tensor. It says nothing without weight.
    if argument == "bias":
        return module.bias is not None or module.weight is None
    return getattr(module, argument, None)


def _is_default(value: Any, argument: inspect.Parameter) -> bool:
    default = argument.default
    if isinstance(value, list | tuple):  # torch keeps stride=1 as (1, 1)
        return all(item == default for item in value)
    return type(value) is type(default) and bool(value == default)


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
