"""The layers that a model begins with whose outputs look at a window of their input each: convolutions and pooling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry

from martensite.models.access import Model
from martensite.models.classifier import Classifier

Sides = tuple[int, int]
# What works value by value, or channel by channel, in evaluation mode.
POINTWISE = (
    nn.BatchNorm2d, nn.CELU, nn.Dropout, nn.Dropout2d, nn.ELU, nn.GELU, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU,
    nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Tanh,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A convolution or a pooling, and what follows value by value.

    Attributes:
        modules: They themselves.
        outputs: What the first of them makes of windows (n, kernel area, C): (n, C').
        size: Height and width of the input, padded.
        channels: C and C'.
        kernel: Height and width of a window.
        stride: How far apart windows are.
        padding: Rows and columns added on each side.
        fill: What they hold.
        work: Multiplications an output position.
    """

    modules: tuple[nn.Module, ...]
    outputs: Callable[[Tensor], Tensor]
    size: Sides
    channels: tuple[int, int]
    kernel: Sides
    stride: Sides
    padding: Sides = (0, 0)
    fill: float = 0.0
    work: int = 0

    @property
    def grid(self) -> Sides:
        """Height and width of the output."""
        tall, wide = (
            (size - kernel) // stride + 1 for size, kernel, stride in zip(self.size, self.kernel, self.stride, strict=True)
        )
        return tall, wide

    def reach(self, sides: Sides) -> Sides:
        """Height and width of a window of the output that holds all that a window of the input with these sides can change."""
        tall, wide = (
            min((side + kernel - 2) // stride + 1, most)
            for side, kernel, stride, most in zip(sides, self.kernel, self.stride, self.grid, strict=True)
        )
        return tall, wide

    def reached(self, corner: Tensor, sides: Sequence[Sides]) -> Tensor:
        """int64 (m, count, 2) corners of the windows `reach` for windows with corners (m, count, 2), counted without padding."""
        near = [p - k + s for p, k, s in zip(self.padding, self.kernel, self.stride, strict=True)]
        last = [[most - side for most, side in zip(self.grid, self.reach(pair), strict=True)] for pair in sides]
        device = corner.device
        first = (corner + torch.tensor(near, device=device)).div(torch.tensor(self.stride, device=device), rounding_mode="floor")
        return first.clamp_min(0).minimum(torch.tensor(last, device=device))

    def finish(self, values: Tensor) -> Tensor:
        """(n, C') after what follows value by value."""
        spread = values[..., None, None]
        for module in self.modules[1:]:
            spread = module(spread)
        return spread.flatten(1)

    def whole(self, x: Tensor) -> Tensor:
        """The output (m, C', H', W') for a whole input (m, C, H, W)."""
        for module in self.modules:
            x = module(x)
        return x


@dataclass(frozen=True)
class Opening:
    """A model as the layers that it begins with, and the rest.

    Attributes:
        model: The model; its normalisation comes first.
        entry: What works value by value before the first layer.
        layers: The layers, one at least.
        rest: What comes after them.
    """

    model: Classifier
    entry: tuple[nn.Module, ...]
    layers: tuple[Layer, ...]
    rest: nn.Module

    def enter(self, values: Tensor) -> Tensor:
        """What the first layer sees of (n, C, height, width) values of the input."""
        values = values.to(self.model.dtype, copy=True)
        values = self.model.normalise(values) if self.model.normalises else values
        for module in self.entry:
            values = module(values)
        return values

    @property
    def work(self) -> int:
        """Multiplications of the layers, a point."""
        return sum(layer.work * prod(layer.grid) for layer in self.layers)

    def reached_work(self, sides: Sides) -> int:
        """Of those, the multiplications in what a window with these sides changes."""
        done = 0
        for layer in self.layers:
            sides = layer.reach(sides)
            done += layer.work * prod(sides)
        return done

    def read(self, sides: Sides) -> int:
        """How many values a layer reads for a window with these sides, at most."""
        most = 0
        for layer in self.layers:
            sides = layer.reach(sides)
            most = max(most, prod(sides) * prod(layer.kernel) * layer.channels[0])
        return most

    @property
    def others(self) -> int:
        """Multiplications of the rest, a point: at most, as its convolutions may have smaller outputs than the layers'."""
        positions = prod(self.layers[-1].grid)
        return sum(weight.numel() * (positions if weight.dim() == 4 else 1) for weight in self.rest.parameters())

    @property
    def values(self) -> int:
        """How many values the layers' inputs and the last one's output hold, a point."""
        inputs = sum(prod(layer.size) * layer.channels[0] for layer in self.layers)
        return inputs + prod(self.layers[-1].grid) * self.layers[-1].channels[1]


def opening(model: Model, shape: tuple[int, ...]) -> Opening | None:
    """A model for inputs of a shape by its first layers; None if it doesn't begin with any, or isn't a plain sequence.

    Only modules of torch's own are taken, and only as they come: what they compute is known.
    """
    if type(model) is not Classifier or not _plain(model) or len(shape) != 3:
        return None
    modules = list(_unpacked(model.net))
    entry, layers = list[nn.Module](), list[Layer]()
    while modules and _plain(modules[0]):
        channels, size = (layers[-1].channels[1], layers[-1].grid) if layers else (shape[0], (shape[1], shape[2]))
        if _pointwise(modules[0]):
            if layers:
                layers[-1] = replace(layers[-1], modules=(*layers[-1].modules, modules.pop(0)))
            else:
                entry.append(modules.pop(0))
        elif (layer := _layer(modules[0], channels, size)) is not None:
            layers.append(layer)
            modules.pop(0)
        else:
            break
    if not any(layer.work for layer in layers):
        return None
    return Opening(model, tuple(entry), tuple(layers), nn.Sequential(*modules))


def _unpacked(net: nn.Module) -> Iterator[nn.Module]:
    if type(net) is nn.Sequential and _plain(net):
        for module in net:
            yield from _unpacked(module)
    else:
        yield net


def _plain(module: nn.Module) -> bool:
    """In evaluation mode, with no hook before or after the forward pass, of its own or of all modules, and no method replaced."""
    hooks = module._forward_hooks, module._forward_pre_hooks, registry._global_forward_hooks, registry._global_forward_pre_hooks
    replaced = any(callable(value) and hasattr(type(module), name) for name, value in vars(module).items())
    return not (module.training or any(hooks) or replaced)


def _pointwise(module: nn.Module) -> bool:
    return type(module) in POINTWISE and not (isinstance(module, nn.BatchNorm2d) and module.running_mean is None)


def _layer(module: nn.Module, channels: int, size: Sides) -> Layer | None:
    """The layer that a module is, for an input of so many channels and of that size; None if it is none."""
    if type(module) is nn.Conv2d:
        return _convolution(module, size)
    if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return None
    if (given := _pairs(module.kernel_size, module.stride, module.padding)) is None:
        return None
    kernel, stride, padding = given
    left = [(side - k) % s for side, k, s in zip(_padded(size, padding), kernel, stride, strict=True)]
    if module.ceil_mode and any(left):
        return None
    if type(module) is nn.MaxPool2d and not module.return_indices and module.dilation in (1, (1, 1)):
        return Layer((module,), _largest, _padded(size, padding), (channels, channels), kernel, stride, padding, -torch.inf)
    if type(module) is nn.AvgPool2d and not module.divisor_override and padding == (0, 0):
        return Layer((module,), _mean, size, (channels, channels), kernel, stride)
    return None


def _convolution(module: nn.Conv2d, size: Sides) -> Layer | None:
    given = _pairs(module.kernel_size, module.stride, module.padding)
    if given is None or module.padding_mode != "zeros" or module.groups != 1 or module.dilation != (1, 1):
        return None
    kernel, stride, padding = given
    weight = module.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    bias = weight.new_zeros(module.out_channels) if module.bias is None else module.bias.detach()

    def outputs(windows: Tensor) -> Tensor:
        return torch.addmm(bias, windows.flatten(1), weight)

    channels = module.in_channels, module.out_channels
    return Layer((module,), outputs, _padded(size, padding), channels, kernel, stride, padding, work=weight.numel())


def _largest(windows: Tensor) -> Tensor:
    return windows.amax(1)


def _mean(windows: Tensor) -> Tensor:
    return windows.mean(1)


def _padded(size: Sides, padding: Sides) -> Sides:
    return size[0] + 2 * padding[0], size[1] + 2 * padding[1]


def _pairs(*given: object) -> list[Sides] | None:
    """Numbers or pairs of numbers as pairs; None if one is neither: torch takes more, such as lists and names."""
    pairs = [(value, value) if isinstance(value, int) else value for value in given]
    right = all(isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(side, int) for side in pair) for pair in pairs)
    return cast(list[Sides], pairs) if right else None
