"""Linear bounds, carried backward from any node to the input: CROWN.

Zhang et al. 2018, arXiv:1811.00866, sec. 3.2, in the form of Xu et al. 2020 (LiRPA), arXiv:2002.12920, algorithm 1: a row a on a
node's value is replaced by rows on the values of its inputs, a W through an affine map, by one of the two lines at each
non-linear entry, until it stands on the network's input, where its least value over the ball is known.

Rows of many samples lie in one batch, each with its owner, so that only as many are computed as are needed: one a rival class at
the output, and at inner layers a pair for each entry whose interval leaves open which line is right.
"""

from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import torch
from torch import Tensor

from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph, Node
from martensite.certification.bounds.interval import Interval, propagate
from martensite.certification.bounds.operations import Add, Convolution, Dense, MaxPool, Rectifier, Reshape, Scale, Tanh
from martensite.certification.bounds.relaxations import Relaxation, relax, undecided
from martensite.certification.bounds.rows import Rows, picking

ENTRIES = 1_000_000  # of the widest layer, over the rows that go backward together: 8 MB, which caches hold


@dataclass(eq=False)
class Bounds:
    """What is known of a batch of samples.

    Attributes:
        graph: The network.
        region: (B,) where the inputs are.
        intervals: Of each node.
        relaxations: Of each non-linear node, by place.
        known: Bounds that are better than intervals of intervals, by place.
    """

    graph: Graph
    region: Region
    intervals: list[Interval]
    relaxations: dict[int, Relaxation] = field(default_factory=dict)
    known: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def by_intervals(cls, graph: Graph, region: Region) -> "Bounds":
        """Interval arithmetic alone; from an L2 or L1 ball, the first affine layers by their exact bounds on it."""
        bounds = cls(graph, region, propagate(graph, region, {}))
        if region.norm != "linf":
            for place, _ in bounds._nonlinear():
                if graph.affine(before := graph.nodes[place].inputs[0]):
                    bounds._refine(before, torch.ones_like(bounds.intervals[before].low, dtype=torch.bool))
        return bounds

    def __getitem__(self, which: Tensor) -> "Bounds":
        """The same of the samples at these places, without relaxations."""
        intervals = [Interval(one.low[which], one.high[which], one.size[which]) for one in self.intervals]
        known = {place: (low[which], high[which]) for place, (low, high) in self.known.items()}
        return Bounds(self.graph, self.region[which], intervals, known=known)

    def relax(self, inner: Literal["intervals", "backward"]) -> None:
        """Lines for every non-linear layer, from its intervals as they are or as going backward tightens them (full CROWN)."""
        for place, op in self._nonlinear():
            before = self.graph.nodes[place].inputs[0]
            interval = self.intervals[before]
            if inner == "backward" and before not in self.known and not self._exact(before):
                self._refine(before, undecided(op, interval.low, interval.high))
                interval = self.intervals[before]
            self.relaxations[place] = relax(op, interval.low, interval.high)

    def least(self, rows: Rows, slopes: dict[int, Tensor] | None = None) -> Tensor:
        """(P,) lower bounds on a z, z the logits.

        Args:
            rows: On the logits.
            slopes: Lower slopes (P, *d) of rectifiers, by place, to take instead of the adaptive ones.
        """
        return self._backward(len(self.graph.nodes) - 1, rows, slopes or {})

    def intervals_least(self, rows: Rows) -> Tensor:
        """(P,) lower bounds on a z, z the logits, by intervals; the last layer is merged with a (Gowal et al. 2018, sec. 3)."""
        place, a, owner = len(self.graph.nodes) - 1, rows.a, rows.owner
        node, total = self.graph.nodes[place], rows.a.new_zeros(len(rows.a))
        error = rows.size * self.intervals[place].size[owner]
        if isinstance(node.op, Dense):
            total, a, place = node.op.offset(a), node.op.transpose(a), node.inputs[0]
        interval = self.intervals[place]
        error = error + Rows(a, owner).size * torch.maximum(interval.size, interval.largest)[owner]
        ends = a.clamp_min(0.0) * interval.low[owner] + a.clamp_max(0.0) * interval.high[owner]
        return total + ends.flatten(1).sum(1) - self.graph.slack * error

    def _refine(self, place: int, wanted: Tensor) -> None:
        """Tighten a node's interval at the entries wanted (B, *d), and with it what comes after."""
        interval, node = self.intervals[place], self.graph.nodes[place]
        low, high = interval.low.flatten(1).clone(), interval.high.flatten(1).clone()
        owners, neurons = wanted.flatten(1).nonzero(as_tuple=True)
        start, most = 0, self._at_once(place)
        while start < len(owners):
            owner, neuron = owners[start : start + most], neurons[start : start + most]
            rows = picking(neuron, node.shape, owner, windowed=len(node.shape) == 3)
            low[owner, neuron] = torch.maximum(low[owner, neuron], self._backward(place, rows, {}))
            high[owner, neuron] = torch.minimum(high[owner, neuron], -self._backward(place, rows.negated(), {}))
            start += most
        self.known[place] = low.view_as(interval.low), high.view_as(interval.high)
        self.intervals = propagate(self.graph, self.region, self.known)

    def _backward(self, last: int, rows: Rows, slopes: dict[int, Tensor]) -> Tensor:
        """Take rows on the value of node ``last`` down to the input."""
        todo, owner = {last: rows}, rows.owner
        total = error = rows.a.new_zeros(len(owner))
        for place in range(last, 0, -1):
            if place not in todo:
                continue
            rows, node = todo.pop(place), self.graph.nodes[place]
            error = error + rows.size * torch.maximum(self.intervals[place].size, self.intervals[place].largest)[owner]
            if isinstance(node.op, Rectifier | Tanh | MaxPool):
                kept = rows.whole(node.shape) if isinstance(node.op, MaxPool) else rows
                before, constant = self.relaxations[place].back(kept, slopes.get(place))
                total = total + constant
            else:
                before, constant = _affine(node, rows)
                total = total + constant
            for source in node.inputs:
                todo[source] = _sum(todo[source], before, self.graph.nodes[source].shape) if source in todo else before
        error = error + todo[0].size * self.intervals[0].size[owner]
        return total + self.region.least(todo[0]) - self.graph.slack * error

    def _at_once(self, place: int) -> int:
        """How many rows from a node may go backward together."""
        node = self.graph.nodes[place]
        widest = max(prod(one.shape) for one in self.graph.nodes[: place + 1])
        if len(node.shape) == 3:  # they begin as windows, which the first layers leave small
            widest //= 8
        return max(1, ENTRIES // widest)

    def _nonlinear(self) -> list[tuple[int, Rectifier | Tanh | MaxPool]]:
        return [
            (place, node.op) for place, node in enumerate(self.graph.nodes) if isinstance(node.op, Rectifier | Tanh | MaxPool)
        ]

    def _exact(self, place: int) -> bool:
        """Whether going backward can't improve on the interval."""
        return self.region.norm == "linf" and self.graph.intervals_are_exact(place)


def _affine(node: Node, rows: Rows) -> tuple[Rows, Tensor]:
    """Rows through an affine node, and their constants."""
    op = node.op
    if isinstance(op, Add):
        return rows, rows.a.new_zeros(len(rows.a))
    if isinstance(op, Convolution):
        return rows.before(op), op.offset(rows.a)
    if isinstance(op, Scale):
        rows = rows if op.by_channel else rows.whole(node.shape)
        return replace(rows, a=op.transpose(rows.a)), op.offset(rows.a)
    if isinstance(op, Dense | Reshape):
        a = rows.whole(node.shape).a
        return Rows(op.transpose(a), rows.owner), op.offset(a)
    raise ValueError(f"{op} is not affine")


def _sum(one: Rows, other: Rows, shape: tuple[int, ...]) -> Rows:
    return Rows(one.whole(shape).a + other.whole(shape).a, one.owner)


def margin_rows(labels: Tensor, classes: int) -> Rows:
    """Rows (B (K - 1), K) that give the label's logit minus each other's."""
    identity = torch.eye(classes, dtype=torch.float64, device=labels.device)
    rows = identity[labels][:, None] - identity
    others = torch.arange(classes, device=labels.device) != labels[:, None]
    return Rows(rows[others], torch.arange(len(labels), device=labels.device).repeat_interleave(classes - 1))
