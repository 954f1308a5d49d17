"""From a model to a `Graph`: the network is traced by torch.fx, and each layer becomes the operations that it is.

Whatever can't be bounded is refused by name, with the list of what can. `check_copy` compares the graph with the model itself, so
that a hook or a changed method, which tracing doesn't see, can't yield bounds of another function.
"""

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from martensite.certification.bounds.graph import Graph, Node
from martensite.certification.bounds.layers import LAYERS, SUPPORTED, Refused, Shape, layer, refuse
from martensite.certification.bounds.operations import Add, Operation, Reshape, Scale
from martensite.core.errors import ModelError
from martensite.models import Classifier

COPY = 1e-3  # of the largest logit: far above the rounding of the model's float32, far below another function
BATCH = "the number of samples"  # stands for it in x.view(x.shape[0], -1)


def lower(model: Classifier, shape: Shape, live: bool = False) -> Graph:
    """The graph of a model with the normalisation inside, in float64.

    Args:
        model: In evaluation mode.
        shape: Of one input.
        live: Whether gradients flow from the bounds into the model's weights, as training wants.

    Raises:
        ModelError: a layer that isn't supported, a network that torch.fx can't trace.
    """
    try:
        # A layer alone would be traced down to torch's functions.
        traced = fx.symbolic_trace(nn.Sequential(model.net) if type(model.net) in LAYERS else model.net)
    except Exception as error:  # the tracer runs the network's own code, which may fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the network can't be traced: {reason}",
            "bounds need a fixed sequence of layers",
            "take out what depends on the input's values, or certify by smoothing",
        ) from None
    builder = Builder(dict(traced.named_modules()), shape)
    if model.normalises:
        by_channel = (-1, *[1] * (len(shape) - 1))
        mean, std = (part.detach().double().view(by_channel) for part in (model.mean, model.std))
        builder.append(Scale(1.0 / std, -mean / std), (0,))
    values: dict[fx.Node, Any] = {}
    with torch.set_grad_enabled(live), model.device:  # what is made anew, such as averages, lies where the weights do
        for node in traced.graph.nodes:
            values[node] = builder.node(node, lambda part: fx.node.map_arg(part, values.__getitem__))
    graph = Graph(tuple(builder.nodes))
    if graph.nodes[-1].shape != (model.classes,):
        raise ModelError(
            f"the network ends in shape {graph.nodes[-1].shape}", f"({model.classes},) is needed", "one logit a class"
        )
    return graph


def check_copy(graph: Graph, model: Classifier, x: Tensor) -> Tensor:
    """(n, K) the graph's logits, where they are the model's.

    Raises:
        ModelError: they aren't: something in the model was not traced.
    """
    ours, theirs = graph.value(x), model(x).double()
    if float((ours - theirs).abs().max()) > COPY * max(1.0, float(theirs.abs().max())):
        raise ModelError(
            f"the traced network answers {float((ours - theirs).abs().max()):.2g} beside the model",
            "bounds must be of the very model",
            "take out hooks and methods changed after construction",
        )
    return ours


class Builder:
    """Grows a list of nodes while a trace is walked."""

    def __init__(self, modules: dict[str, nn.Module], shape: Shape) -> None:
        self.modules, self.nodes = modules, [Node(None, (), shape)]

    def append(self, op: Operation, inputs: tuple[int, ...]) -> int:
        """Add a node and say where it is."""
        before = self.nodes[inputs[0]].shape
        if isinstance(op, Add):
            after = before
            if self.nodes[inputs[1]].shape != before:
                raise Refused(f"a sum of shapes {before} and {self.nodes[inputs[1]].shape}")
        else:
            with torch.no_grad():
                after = tuple(op.value(torch.zeros(1, *before, dtype=torch.float64, device=_device(op))).shape[1:])
        self.nodes.append(Node(op, inputs, after))
        return len(self.nodes) - 1

    def node(self, node: fx.Node, known: Callable[[Any], Any]) -> Any:
        """The place of a traced node's value, or the value itself where it is no tensor."""
        args, kwargs = known(node.args), known(node.kwargs)
        if node.op == "placeholder":
            return len(self.nodes) - 1
        if node.op == "output":
            if args[0] != len(self.nodes) - 1:
                raise ModelError("the network doesn't return its last layer's value", "logits must come last", "return them")
            return None
        name = str(node.target) if node.op != "call_function" else getattr(node.target, "__name__", str(node.target))
        try:
            if node.op == "call_module":
                module = self.modules[str(node.target)]
                name = f"{type(module).__name__} ({node.target})"
                return self.chain(layer(module, self.nodes[args[0]].shape), args[0])
            if node.op in ("call_function", "call_method"):
                return self.call(node.target, args, kwargs)
            raise Refused(f"reads {node.target} directly")
        except Refused as refused:
            detail = f" ({refused})" if str(refused) else ""
            raise ModelError(
                f"bounds don't know the layer {name}{detail}", f"supported: {', '.join(SUPPORTED)}", "certify by smoothing"
            ) from None

    def chain(self, ops: list[Operation], place: int) -> int:
        """Append operations one after another."""
        for op in ops:
            place = self.append(op, (place,))
        return place

    def call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function or method on tensors."""
        if target in ("size", getattr):
            return [BATCH] if len(args) == 1 or args[1] == "shape" else BATCH if args[1] == 0 else refuse("a size")
        if target is operator.getitem and args == ([BATCH], 0):
            return BATCH
        if not args or type(args[0]) is not int:
            raise Refused("of no tensor")
        shape, rest = self.nodes[args[0]].shape, args[1:]
        if target in (operator.add, operator.iadd, torch.add, "add", "add_"):
            if len(rest) != 1 or type(rest[0]) is not int or kwargs:
                raise Refused("of a tensor and a number")
            return self.append(Add(), (args[0], rest[0]))
        if target in ("view", "reshape", torch.reshape):
            sizes = rest[0] if len(rest) == 1 and isinstance(rest[0], list | tuple) else rest
            return self.append(Reshape(shape, _viewed(shape, tuple(sizes))), (args[0],))
        if target in MODULES:
            if (made := MODULES[target](*rest, **{key: value for key, value in kwargs.items() if key != "inplace"})) is None:
                raise Refused
            return self.chain(layer(made, shape), args[0])
        raise Refused


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _leaky(negative_slope: float = 0.01) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


# Functions and methods that are a module without weights.
MODULES: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_"), nn.ReLU),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    F.leaky_relu: _leaky,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}


def _viewed(shape: Shape, sizes: tuple[Any, ...]) -> Shape:
    """The shape of a view, without the batch; the batch is its first size, as itself or as -1."""
    rest = sizes[1:]
    if sizes[:1] not in ((BATCH,), (-1,)) or not all(isinstance(size, int) for size in rest) or rest.count(-1) > 1:
        raise Refused(f"to {sizes}")
    known = prod(size for size in rest if size != -1)
    if -1 in rest and sizes[0] != BATCH:
        raise Refused(f"to {sizes}")
    after = tuple(prod(shape) // known if size == -1 else size for size in rest)
    return after if prod(after) == prod(shape) else refuse(f"to {sizes}")


def _device(op: Operation) -> torch.device:
    weight = getattr(op, "weight", None)
    return weight.device if isinstance(weight, Tensor) else torch.device("cpu")
