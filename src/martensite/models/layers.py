"""A plain network as data: a list of torch's own layers, so that a user's Sequential fits in a bundle without code."""

import inspect
import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from pydantic import model_validator
from torch import nn

from martensite.core.config import nearest
from martensite.core.errors import ConfigError, ModelError
from martensite.models.architecture import ARCHITECTURES, Architecture

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
ACTIVATIONS = (nn.ELU, nn.GELU, nn.LeakyReLU, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh)
POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d)
SHAPERS = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, nn.LogSoftmax, nn.Softmax, nn.Unflatten)
LAYERS: dict[str, type[nn.Module]] = {
    cls.__name__: cls for cls in (nn.Conv1d, nn.Conv2d, nn.Linear, *NORMALISATIONS, *ACTIVATIONS, *POOLS, *SHAPERS)
}
DEEPEST = 32


@ARCHITECTURES.register
class Layers(Architecture):
    """A list of layers by torch's names and arguments, where ``Sequential`` holds a list of its own.

    One entry is that layer itself, several are a ``Sequential`` of them, so that the names in the state dict are those
    of the network described. A child that isn't named by its number carries ``"name"``.

    Args:
        layers: E.g. ``[{"kind": "Flatten"}, {"kind": "Linear", "in_features": 64, "out_features": 10}]``; arguments
            left out have torch's defaults.

    Raises:
        ConfigError: no layer, an unknown layer or argument, an argument that torch refuses.
    """

    kind: Literal["layers"] = "layers"
    layers: tuple[dict[str, Any], ...]

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        # On the meta device a layer has a shape but no storage, so that a mistake costs nothing, whatever its size.
        with torch.device("meta"):
            self._build()
        return self

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; with an empty ``shape`` (not known) the fit is not checked.

        Raises:
            ModelError: the layers can't take that shape, or don't end in (n, classes).
        """
        if shape:
            self._check_fit(shape, classes)
        return self._build()

    def _build(self) -> nn.Module:
        if not self.layers:
            raise ConfigError("Layers.layers is empty", "a network has at least one layer", 'e.g. [{"kind": "Identity"}]')
        return build_layer(self.layers[0], 1) if len(self.layers) == 1 else _sequential(self.layers, 1)

    def _check_fit(self, shape: tuple[int, ...], classes: int) -> None:
        try:
            with torch.device("meta"):
                logits = self._build().eval()(torch.empty(2, *shape))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ModelError(
                f"the layers can't take an input of shape {shape}: {_reason(error)}", remedy="check shape and layers"
            ) from None
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if found != (2, classes):
            raise ModelError(
                f"the layers return {found} for 2 inputs of shape {shape}",
                f"(2, {classes}) is needed: one logit a class",
                "check the last layer and classes=",
            )


def arguments(kind: str) -> dict[str, inspect.Parameter]:
    """The arguments of a layer's constructor, but for where and in which precision to make it."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(LAYERS[kind]).parameters.values()
    return {p.name: p for p in parameters if p.kind in named and p.name not in ("device", "dtype")}


def build_layer(entry: Any, depth: int) -> nn.Module:
    """The module of one entry. Only the classes of `LAYERS` and ``Sequential`` are ever called.

    Raises:
        ConfigError: see `Layers`.
    """
    if not isinstance(entry, dict) or not isinstance(kind := entry.get("kind"), str):
        raise ConfigError(f"{_shown(entry)} is no layer", "a mapping with the key 'kind' is needed", 'e.g. {"kind": "ReLU"}')
    given = {key: value for key, value in entry.items() if key not in ("kind", "name")}
    if kind == "Sequential":
        return _nested(given, depth)
    if kind not in LAYERS:
        rule = "only these of torch's layers can be described"
        raise ConfigError(f"there is no layer {kind!r}", rule, nearest(kind, [*LAYERS, "Sequential"]))
    known = arguments(kind)
    for key in given:
        if key not in known:
            remedy = nearest(str(key), known) if known else "leave it out: this layer has no arguments"
            raise ConfigError(f"{kind} has no argument {key!r}", "unknown arguments are refused", remedy)
    try:
        return LAYERS[kind](**{key: _plain(value) for key, value in given.items()})
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        remedy = "see torch's documentation of the layer"
        raise ConfigError(f"{kind} refuses {_shown(given)}: {_reason(error)}", remedy=remedy) from None


def _nested(given: dict[str, Any], depth: int) -> nn.Sequential:
    if given.keys() != {"layers"} or not isinstance(given["layers"], list | tuple):
        raise ConfigError(f"a Sequential is given {_shown(given)}", "it has one key beside its kind: 'layers', a list of layers")
    if depth >= DEEPEST:
        raise ConfigError(f"layers are nested more than {DEEPEST} deep", remedy="write the inner ones in the outer list")
    return _sequential(given["layers"], depth + 1)


def _sequential(entries: Sequence[Any], depth: int) -> nn.Sequential:
    net = nn.Sequential()
    for index, entry in enumerate(entries):
        layer = build_layer(entry, depth)
        name = entry.get("name", str(index))
        try:
            net.add_module(name, layer)
        except (TypeError, KeyError) as error:
            raise ConfigError(f"a layer is named {name!r}: {error.args[0]}", remedy="give another name, or none") from None
        if len(net._modules) <= index:  # torch lets the later of two replace the earlier
            raise ConfigError(f"two layers are named {name!r}", "a name stands once in a Sequential", "leave the names out")
    return net


def _plain(value: Any) -> Any:
    """The value with tuples for lists, as torch wants them; only what JSON can hold gets through."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(f"{_shown(value)} is no finite number, string, flag or list of them")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
