"""The worst logits that bounds leave possible: what certified training takes the loss of.

Gowal et al. 2018, "On the effectiveness of interval bound propagation for training verifiably robust models", arXiv:1810.12715,
eq. 5 to 10; Zhang et al. 2020, arXiv:1906.06316, sec. 3.2 for CROWN's bounds over intervals. Cross-entropy at these logits is at
least that of any point of the ball, but for rounding: they are computed in the model's own precision, with gradients, and prove
nothing. Verification runs in float64 afterwards, by code that shares the layers with this and nothing else.
"""

import torch
from torch import Tensor

from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.lower import lower
from martensite.certification.bounds.operations import Add, Dense, MaxPool, Rectifier, Tanh
from martensite.threat import ThreatModel
from martensite.training.context import Context

INTERVAL_PASSES = 2  # of a middle and of a radius
Box = tuple[Tensor, Tensor]  # lower and upper ends, (n, *d) each


def worst_logits(context: Context, x: Tensor, y: Tensor, threat: ThreatModel, linear: float = 0.0) -> Tensor:
    """(n, K) minus a lower bound on the logit of y less each other, and zero for y itself, with a gradient for the update.

    Args:
        context: The model in training. Its layers are bounded as in evaluation mode: batch normalisation by its running
            statistics, no dropout.
        x: (n, *d) centres of the balls.
        y: (n,) labels.
        threat: eps and box, and a norm: of an L2 or L1 ball, the bounds are those of the Linf ball around it.
        linear: Share, in [0, 1], of CROWN's bound over intervals (CROWN-IBP), against intervals alone.

    Raises:
        ModelError: a layer that bounds don't know.
    """
    graph, n = lower(context.model, tuple(x.shape[1:]), live=True).to(context.model.dtype), len(x)
    x = x.to(context.model.dtype)
    boxes = intervals(graph, ((x - threat.eps).clamp_min(threat.box[0]), (x + threat.eps).clamp_max(threat.box[1])))
    _count(context, n * INTERVAL_PASSES)
    least = torch.zeros((), dtype=x.dtype, device=x.device)
    if linear < 1.0:
        least = (1.0 - linear) * margins_by_intervals(graph, boxes, y)
    if linear > 0.0:
        _count(context, n * graph.classes)
        least = least + linear * margins_by_lines(graph, boxes, y)
    return -least


def intervals(graph: Graph, start: Box) -> list[Box]:
    """The box that each node's value lies in."""
    boxes = [start]
    for node in graph.nodes[1:]:
        (low, high), op = boxes[node.inputs[0]], node.op
        if isinstance(op, Add):
            other = boxes[node.inputs[1]]
            boxes.append((low + other[0], high + other[1]))
        elif isinstance(op, Rectifier | Tanh | MaxPool):  # monotone
            boxes.append((op.value(low), op.value(high)))
        elif op is not None:
            middle, spread = op.value((low + high) / 2), op.spread((high - low) / 2)
            boxes.append((middle - spread, middle + spread))
    return boxes


def margins_by_intervals(graph: Graph, boxes: list[Box], y: Tensor) -> Tensor:
    """(n, K) lower bounds on the logit of y less each other; the last layer is merged with that difference (eq. 9)."""
    last = graph.nodes[-1]
    rows, place = _differences(graph, y, boxes[0][0].dtype), len(boxes) - 1
    offset = rows.new_zeros(())
    if isinstance(last.op, Dense):
        offset, rows, place = rows @ last.op.bias, rows @ last.op.weight, last.inputs[0]
    low, high = boxes[place]
    middle, radius = (low + high) / 2, (high - low) / 2
    return torch.einsum("nkm,nm->nk", rows, middle) - torch.einsum("nkm,nm->nk", rows.abs(), radius) + offset


def margins_by_lines(graph: Graph, boxes: list[Box], y: Tensor) -> Tensor:
    """(n, K) as `margins_by_intervals`, by going backward through lines around the rectifiers; other curves end at their box."""
    n, classes = len(y), graph.classes
    rows = {len(boxes) - 1: _differences(graph, y, boxes[0][0].dtype).flatten(0, 1)}
    total = boxes[0][0].new_zeros(n * classes)

    def each(values: Tensor) -> Tensor:
        return values.repeat_interleave(classes, 0)

    for place in range(len(boxes) - 1, -1, -1):
        if place not in rows:
            continue
        a, node = rows.pop(place), graph.nodes[place]
        if isinstance(node.op, Add):
            steps = [(before, a) for before in node.inputs]
        elif isinstance(node.op, Rectifier):
            lower_slope, upper_slope, upper_offset = _lines(node.op.slope, *boxes[node.inputs[0]])
            up, down = a.clamp_min(0.0), a.clamp_max(0.0)
            total = total + (down * each(upper_offset)).flatten(1).sum(1)
            steps = [(node.inputs[0], up * each(lower_slope) + down * each(upper_slope))]
        elif node.op is None or isinstance(node.op, Tanh | MaxPool):
            low, high = (each(end) for end in boxes[place])
            total = total + (a.clamp_min(0.0) * low + a.clamp_max(0.0) * high).flatten(1).sum(1)
            steps = []
        else:
            total = total + node.op.offset(a)
            steps = [(node.inputs[0], node.op.transpose(a))]
        for before, part in steps:
            rows[before] = rows[before] + part if before in rows else part
    return total.view(n, classes)


def _differences(graph: Graph, y: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, K, K) rows on the logits that give the logit of y less each other."""
    identity = torch.eye(graph.classes, dtype=dtype, device=y.device)
    return identity[y][:, None] - identity


def _lines(slope: float, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower slope, upper slope and upper offset of lines around max(z, slope z): CROWN's, arXiv:1811.00866, table 2."""
    crosses = (low < 0) & (high > 0)
    gap = torch.where(crosses, high - low, 1.0)  # elsewhere it may be zero, whose quotient has no gradient
    chord = torch.where(crosses, (high - slope * low) / gap, torch.where(low >= 0, 1.0, slope))
    offset = torch.where(crosses, (slope - chord) * low, 0.0)
    lower = torch.where(crosses, torch.where(high > -low, 1.0, slope), chord)
    return lower.detach(), chord, offset


def _count(context: Context, passes: int) -> None:
    """Enter passes, forward and backward, in the update's account."""
    context.ledger.update.forwards += passes
    context.ledger.update.backwards += passes
