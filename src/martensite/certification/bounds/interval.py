"""Interval arithmetic: the box that a layer's outputs lie in, from the box of its inputs.

Gowal et al. 2018, "On the effectiveness of interval bound propagation for training verifiably robust models", arXiv:1810.12715,
sec. 3: for z in m +- r an affine map gives (W m + b) +- |W| r (eq. 5), a monotone function its values at the ends (eq. 6).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.operations import Add, MaxPool, Rectifier, Reshape, Tanh
from martensite.certification.bounds.relaxations import OUTWARD


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds on a node's value.

    Attributes:
        low: (B, *d) float64.
        high: (B, *d).
        size: (B,) at least the absolute value of everything that is added up to compute the node: see `rounding`.
    """

    low: Tensor
    high: Tensor
    size: Tensor

    @property
    def largest(self) -> Tensor:
        """(B,) upper bound on the absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs()).flatten(1).amax(1)


def propagate(graph: Graph, region: Region, known: dict[int, tuple[Tensor, Tensor]]) -> list[Interval]:
    """An interval for each node.

    Args:
        graph: The network.
        region: Where the inputs are.
        known: Other bounds by place, each as low and high (B, *d); what comes after profits from them.
    """
    first = Interval(region.low, region.high, torch.zeros_like(region.eps))
    found = [Interval(first.low, first.high, first.largest + region.eps)]
    for place in range(1, len(graph.nodes)):
        interval = _step(graph, place, [found[before] for before in graph.nodes[place].inputs])
        if place in known:
            low, high = known[place]
            interval = Interval(torch.maximum(interval.low, low), torch.minimum(interval.high, high), interval.size)
        found.append(interval)
    return found


def _step(graph: Graph, place: int, before: list[Interval]) -> Interval:
    op, one = graph.nodes[place].op, before[0]
    if isinstance(op, Add):
        low, high, size = one.low + before[1].low, one.high + before[1].high, one.largest + before[1].largest
    elif isinstance(op, Rectifier | Tanh | MaxPool):
        outward = OUTWARD if isinstance(op, Tanh) else 0.0
        low, high = op.value(one.low) - outward, op.value(one.high) + outward
        # Lines have slopes of at most 1, and offsets of at most twice what is below.
        return Interval(low, high, 3.0 * (one.largest + 1.0))
    elif op is None:
        raise ValueError("only the first node is an input")
    elif isinstance(op, Reshape):
        return Interval(op.value(one.low), op.value(one.high), one.size)
    else:
        middle, radius = op.value((one.low + one.high) / 2), op.spread((one.high - one.low) / 2)
        low, high, size = middle - radius, middle + radius, op.size(one.largest)
    away = (graph.slack * size).view(-1, *[1] * (low.dim() - 1))
    return Interval(low - away, high + away, size)
