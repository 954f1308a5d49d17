"""A network as a list of operations in the order in which they are computed: what `lower` makes of a model."""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from martensite.certification.bounds.operations import Add, Convolution, Dense, Nonlinear, Operation, Reshape, Scale
from martensite.certification.bounds.rounding import slack


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: None for the input.
        inputs: Places of the nodes that it takes.
        shape: Of its value, without the batch.
    """

    op: Operation | None
    inputs: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order, the input first and the logits last."""

    nodes: tuple[Node, ...]

    @property
    def classes(self) -> int:
        """K."""
        return self.nodes[-1].shape[0]

    @property
    def slack(self) -> float:
        """See `rounding`: no sum has more terms than two neighbouring layers have entries."""
        return slack(2 * max(prod(node.shape) for node in self.nodes), len(self.nodes))

    def to(self, dtype: torch.dtype) -> "Graph":
        """The same network in another precision."""
        return Graph(tuple(replace(node, op=_cast(node.op, dtype)) for node in self.nodes))

    def value(self, x: Tensor) -> Tensor:
        """(n, K) float64 logits of inputs (n, *d)."""
        values = [x.double()]
        for node in self.nodes[1:]:
            first = values[node.inputs[0]]
            if isinstance(node.op, Add):
                values.append(first + values[node.inputs[1]])
            elif node.op is not None:
                values.append(node.op.value(first))
        return values[-1]

    def affine(self, place: int) -> bool:
        """Whether a node is an affine function of the input."""
        node = self.nodes[place]
        return not isinstance(node.op, Nonlinear) and all(self.affine(before) for before in node.inputs)

    def intervals_are_exact(self, place: int) -> bool:
        """Whether interval arithmetic finds a node's exact bounds on a box: one weighted sum of entries scaled each alone."""
        node = self.nodes[place]
        while node.op is not None and isinstance(node.op, Scale | Reshape):
            node = self.nodes[node.inputs[0]]
        if isinstance(node.op, Dense | Convolution):
            node = self.nodes[node.inputs[0]]
            while node.op is not None and isinstance(node.op, Scale | Reshape):
                node = self.nodes[node.inputs[0]]
        return node.op is None


def _cast(op: Operation | None, dtype: torch.dtype) -> Operation | None:
    if isinstance(op, Dense | Convolution | Scale):
        return replace(op, weight=op.weight.to(dtype), bias=op.bias.to(dtype))
    return op
