"""What each of torch's layers is, in operations that bounds know."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from martensite.certification.bounds.operations import (
    Convolution,
    Dense,
    MaxPool,
    Operation,
    Pair,
    Rectifier,
    Reshape,
    Scale,
    Tanh,
)

Shape = tuple[int, ...]


class Refused(Exception):
    """Why a layer can't be bounded."""


def layer(module: Any, shape: Shape) -> list[Operation]:
    """The operations of one of torch's layers, for inputs of this shape.

    Raises:
        Refused: none are known.
    """
    if type(module) not in LAYERS:
        raise Refused
    return LAYERS[type(module)](module, shape)


def _linear(module: nn.Linear, shape: Shape) -> list[Operation]:
    if len(shape) != 1:
        refuse(f"of inputs of shape {shape}; flatten them first")
    weight = module.weight.double()
    return [Dense(weight, _bias(module.bias, weight))]


def _conv2d(module: nn.Conv2d, shape: Shape) -> list[Operation]:
    if module.padding_mode != "zeros":
        refuse(f"padding_mode {module.padding_mode!r}")
    if len(shape) != 3:
        refuse(f"of inputs of shape {shape}")
    padding: Any = (0, 0) if module.padding == "valid" else module.padding
    if padding == "same":
        total = [step * (side - 1) for step, side in zip(module.dilation, module.kernel_size, strict=True)]
        if any(one % 2 for one in total):
            refuse("padding 'same' of an even kernel")
        padding = (total[0] // 2, total[1] // 2)
    weight = module.weight.double()
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    return [Convolution(weight, _bias(module.bias, weight), stride, _pair(padding), dilation, module.groups, shape)]


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> list[Operation]:
    if module.running_mean is None or module.running_var is None:
        raise Refused("without running statistics")
    mean, variance = module.running_mean.double(), module.running_var.double()
    weight = torch.ones_like(mean) if module.weight is None else module.weight.double()
    bias = torch.zeros_like(mean) if module.bias is None else module.bias.double()
    scale = weight / (variance + module.eps).sqrt()
    by_channel = (-1, *[1] * (len(shape) - 1))
    return [Scale(scale.view(by_channel), (bias - mean * scale).view(by_channel))]


def _average(module: nn.AvgPool2d, shape: Shape) -> list[Operation]:
    kernel, padding = _pair(module.kernel_size), _pair(module.padding)
    if module.ceil_mode or module.divisor_override is not None or (any(padding) and not module.count_include_pad):
        refuse("with ceil_mode, divisor_override or without count_include_pad")
    return [_averaging(kernel, _pair(module.stride), padding, shape)]


def _adaptive(module: nn.AdaptiveAvgPool2d, shape: Shape) -> list[Operation]:
    asked: Any = module.output_size
    sizes = [asked, asked] if asked is None or isinstance(asked, int) else list(asked)
    sides = [side if size is None else size for size, side in zip(sizes, shape[1:], strict=True)]
    if any(side % size for size, side in zip(sides, shape[1:], strict=True)):
        refuse(f"of {shape[1:]} to {tuple(sides)}, which doesn't divide")
    kernel = (shape[1] // sides[0], shape[2] // sides[1])
    return [_averaging(kernel, kernel, (0, 0), shape)]


def _averaging(kernel: Pair, stride: Pair, padding: Pair, shape: Shape) -> Operation:
    if len(shape) != 3:
        refuse(f"of inputs of shape {shape}")
    weight = torch.full((shape[0], 1, *kernel), 1.0 / prod(kernel), dtype=torch.float64)
    return Convolution(weight, weight.new_zeros(shape[0]), stride, padding, (1, 1), shape[0], shape)


def _max_pool(module: nn.MaxPool2d, shape: Shape) -> list[Operation]:
    if module.ceil_mode or module.return_indices:
        refuse("with ceil_mode or return_indices")
    if len(shape) != 3:
        refuse(f"of inputs of shape {shape}")
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    return [MaxPool(kernel, stride, _pair(module.padding), _pair(module.dilation), shape)]


def _leaky_relu(module: nn.LeakyReLU, shape: Shape) -> list[Operation]:
    if not 0.0 <= module.negative_slope < 1.0:
        refuse(f"negative_slope {module.negative_slope:g}, outside [0, 1)")
    return [Rectifier(float(module.negative_slope))]


def _sigmoid(module: nn.Sigmoid, shape: Shape) -> list[Operation]:
    half = torch.tensor(0.5, dtype=torch.float64)
    return [Scale(half, torch.zeros_like(half)), Tanh(), Scale(half, half)]


def _flattening(module: nn.Flatten, shape: Shape) -> list[Operation]:
    if module.start_dim != 1 or module.end_dim not in (-1, len(shape)):
        refuse(f"from axis {module.start_dim} to {module.end_dim}")
    return [Reshape(shape, (prod(shape),))]


def _nothing(module: nn.Module, shape: Shape) -> list[Operation]:
    return []


LAYERS: dict[type[nn.Module], Callable[..., list[Operation]]] = {
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.AvgPool2d: _average,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Conv2d: _conv2d,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
    nn.Flatten: _flattening,
    nn.Identity: _nothing,
    nn.LeakyReLU: _leaky_relu,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: lambda module, shape: [Rectifier(0.0)],
    nn.Sigmoid: _sigmoid,
    nn.Tanh: lambda module, shape: [Tanh()],
}
SUPPORTED = (*[cls.__name__ for cls in LAYERS], "Sequential", "x + y", "view and reshape")


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias.double()


def _pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def refuse(reason: str) -> Any:
    raise Refused(reason)
