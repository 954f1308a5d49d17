"""From an ONNX file to a `Graph`: the operators that small verifiable networks are exported with.

A file holds numbers and the names of operators, and nothing of it is run. The first axis is the batch, of one or of any size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.layers import Refused, layer
from martensite.certification.bounds.lower import Builder
from martensite.certification.bounds.operations import Add, Convolution, Dense, Operation, Pair, Rectifier, Reshape, Scale, Tanh
from martensite.core.errors import ArtifactError, ModelError

Value = int | Tensor  # a node's place, or a constant


def read_onnx(path: Path) -> Graph:
    """The graph of a network in a file, with flat outputs, in float64.

    Raises:
        ArtifactError: no such file, no ONNX, or the extra ``onnx`` isn't installed.
        ModelError: an operator that bounds don't know, more than one input or output, sizes that aren't fixed.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ArtifactError("onnx isn't installed", "networks in ONNX are read by it", "pip install 'martensite[onnx]'") from None
    try:
        model = onnx.load(str(path), load_external_data=False).graph
        constants = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.initializer}
    except Exception as error:  # a broken file fails in protobuf, in onnx or in numpy
        raise ArtifactError(f"{path} can't be read: {error}", "an ONNX file with its weights inside is needed") from None
    inputs = [one for one in model.input if one.name not in constants]
    if len(inputs) != 1 or len(model.output) != 1:
        raise ModelError(f"{path} has {len(inputs)} inputs and {len(model.output)} outputs", "one of each is needed")
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    if len(dims) < 2 or dims[0] > 1 or not all(dims[1:]):
        raise ModelError(f"{path} takes inputs of shape {tuple(dims)}", "a batch axis and fixed sizes are needed")
    builder = Builder({}, tuple(dims[1:]))
    values: dict[str, Value] = {inputs[0].name: 0, **constants}
    for node in model.node:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            values[node.output[0]] = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
            continue
        try:
            if node.op_type not in OPERATORS:
                raise Refused
            operands = [values[name] for name in node.input if name]
            values[node.output[0]] = OPERATORS[node.op_type](builder, operands, attributes)
        except (Refused, KeyError, IndexError) as refused:
            detail = f" ({refused})" if str(refused) else ""
            raise ModelError(
                f"bounds don't know the operator {node.op_type}{detail}", f"supported: {', '.join(OPERATORS)}", "export anew"
            ) from None
    place = values.get(model.output[0].name)
    if not isinstance(place, int) or place != len(builder.nodes) - 1:
        raise ModelError(f"{path} doesn't return its last operator's value", "outputs come last")
    shape = builder.nodes[place].shape
    if len(shape) != 1:
        builder.append(Reshape(shape, (int(torch.Size(shape).numel()),)), (place,))
    return Graph(tuple(builder.nodes))


def _place(value: Value) -> int:
    if isinstance(value, Tensor):
        raise Refused("of a constant")
    return value


def _constant(value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        raise Refused("of two values that depend on the input")
    return value.double()


def _affine(weight: float | Tensor, bias: float | Tensor, shape: tuple[int, ...]) -> Scale:
    """weight * z + bias; constants lose their batch axis."""
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in (weight, bias)]
    parts = [part.squeeze(0) if part.dim() == len(shape) + 1 and len(part) == 1 else part for part in parts]
    for part in parts:
        fits = part.dim() <= len(shape) and all(a in (1, b) for a, b in zip(part.shape[::-1], shape[::-1], strict=False))
        if not fits:
            raise Refused(f"of shapes {tuple(part.shape)} and {shape}")
    return Scale(parts[0], parts[1])


def _sum(builder: Builder, operands: list[Value], sign: float) -> int:
    first, second = operands
    if isinstance(first, Tensor):
        place = _place(second)
        return builder.append(_affine(sign, _constant(first), builder.nodes[place].shape), (place,))
    shape = builder.nodes[first].shape
    if isinstance(second, Tensor):
        return builder.append(_affine(1.0, sign * _constant(second), shape), (first,))
    other = second if sign > 0 else builder.append(_affine(sign, 0.0, builder.nodes[second].shape), (second,))
    return builder.append(Add(), (first, other))


def _product(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    value, factor = operands if isinstance(operands[1], Tensor) else operands[::-1]
    place = _place(value)
    return builder.append(_affine(_constant(factor), 0.0, builder.nodes[place].shape), (place,))


def _quotient(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    place = _place(operands[0])
    return builder.append(_affine(1.0 / _constant(operands[1]), 0.0, builder.nodes[place].shape), (place,))


def _dense(builder: Builder, operands: list[Value], weight: Tensor, bias: Tensor | None) -> int:
    place = _place(operands[0])
    if len(builder.nodes[place].shape) != 1 or weight.dim() != 2:
        raise Refused(f"of shape {builder.nodes[place].shape}")
    return builder.append(Dense(weight, weight.new_zeros(len(weight)) if bias is None else bias.expand(len(weight))), (place,))


def _gemm(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    if attributes.get("transA", 0):
        raise Refused("with transA")
    weight = _constant(operands[1]) * attributes.get("alpha", 1.0)
    bias = None if len(operands) < 3 else _constant(operands[2]).flatten() * attributes.get("beta", 1.0)
    return _dense(builder, operands, weight if attributes.get("transB", 0) else weight.T.contiguous(), bias)


def _matmul(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    return _dense(builder, operands, _constant(operands[1]).T.contiguous(), None)


def _conv(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    place, weight = _place(operands[0]), _constant(operands[1])
    shape = builder.nodes[place].shape
    if weight.dim() != 4 or len(shape) != 3:
        raise Refused("of other than two dimensions")
    bias = _constant(operands[2]) if len(operands) > 2 else weight.new_zeros(len(weight))
    stride, dilation = _pair(attributes.get("strides")), _pair(attributes.get("dilations"))
    op = Convolution(weight, bias, stride, _padding(attributes), dilation, attributes.get("group", 1), shape)
    return builder.append(op, (place,))


def _normalise(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    place = _place(operands[0])
    weight, bias, mean, variance = (_constant(value) for value in operands[1:5])
    scale = weight / (variance + attributes.get("epsilon", 1e-5)).sqrt()
    by_channel = (-1, *[1] * (len(builder.nodes[place].shape) - 1))
    return builder.append(Scale(scale.view(by_channel), (bias - mean * scale).view(by_channel)), (place,))


def _pool(kind: type[nn.Module]) -> Callable[[Builder, list[Value], dict[str, Any]], int]:
    def build(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
        kernel, stride, padding = _pair(attributes["kernel_shape"]), _pair(attributes.get("strides")), _padding(attributes)
        given: dict[str, Any] = {"ceil_mode": bool(attributes.get("ceil_mode", 0))}
        if kind is nn.MaxPool2d:
            given["dilation"] = _pair(attributes.get("dilations"))
        else:
            given["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
        place = _place(operands[0])
        return builder.chain(layer(kind(kernel, stride, padding, **given), builder.nodes[place].shape), place)

    return build


def _module(module: nn.Module) -> Callable[[Builder, list[Value], dict[str, Any]], int]:
    def build(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
        place = _place(operands[0])
        return builder.chain(layer(module, builder.nodes[place].shape), place)

    return build


def _entrywise(op: Operation) -> Callable[[Builder, list[Value], dict[str, Any]], int]:
    return lambda builder, operands, attributes: builder.append(op, (_place(operands[0]),))


def _leaky(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    if not 0.0 <= (slope := attributes.get("alpha", 0.01)) < 1.0:
        raise Refused(f"alpha {slope:g}, outside [0, 1)")
    return builder.append(Rectifier(slope), (_place(operands[0]),))


def _flatten(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    place = _place(operands[0])
    if attributes.get("axis", 1) != 1:
        raise Refused(f"from axis {attributes['axis']}")
    shape = builder.nodes[place].shape
    return builder.append(Reshape(shape, (int(torch.Size(shape).numel()),)), (place,))


def _reshape(builder: Builder, operands: list[Value], attributes: dict[str, Any]) -> int:
    place, sizes = _place(operands[0]), [int(size) for size in _constant(operands[1])]
    before = builder.nodes[place].shape
    # With a batch of one, the shape is what remains without its first axis.
    sizes[:1] = [1 if size == 0 else size for size in sizes[:1]]
    after = tuple(torch.empty(1, *before, device="meta").reshape(sizes).shape)
    if after[0] != 1 or 0 in sizes[1:]:
        raise Refused(f"to {sizes}")
    return builder.append(Reshape(before, after[1:]), (place,))


def _pair(value: Any) -> Pair:
    first, second = (1, 1) if value is None else value
    return int(first), int(second)


def _padding(attributes: dict[str, Any]) -> Pair:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or pads[:2] != pads[2:]:
        raise Refused("with padding that differs from side to side")
    return int(pads[0]), int(pads[1])


OPERATORS: dict[str, Callable[[Builder, list[Value], dict[str, Any]], Value]] = {
    "Add": lambda builder, operands, attributes: _sum(builder, operands, 1.0),
    "AveragePool": _pool(nn.AvgPool2d),
    "BatchNormalization": _normalise,
    "Conv": _conv,
    "Div": _quotient,
    "Dropout": lambda builder, operands, attributes: operands[0],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _module(nn.AdaptiveAvgPool2d(1)),
    "Identity": lambda builder, operands, attributes: operands[0],
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "MaxPool": _pool(nn.MaxPool2d),
    "Mul": _product,
    "Relu": _entrywise(Rectifier(0.0)),
    "Reshape": _reshape,
    "Sigmoid": _module(nn.Sigmoid()),
    "Sub": lambda builder, operands, attributes: _sum(builder, operands, -1.0),
    "Tanh": _entrywise(Tanh()),
}
