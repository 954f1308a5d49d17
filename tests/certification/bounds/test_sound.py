"""Bounds hold: on random points of the ball, on its corners, and on points that gradients point to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.certification.bounds.interval import propagate
from martensite.certification.bounds.linear import Bounds
from martensite.certification.bounds.margins import interval_margins, linear_margins
from martensite.certification.bounds.operations import Add
from martensite.certification.bounds.relaxations import rectifier_lines, tanh_lines

ROUNDED = 1e-10  # the points' own values are rounded too
NAMES = ("linear", "relu", "leaky", "tanh", "sigmoid", "convolutions", "average", "maximum", "residual")
BALLS = (("linf", 0.05), ("linf", 0.3), ("l2", 0.3), ("l2", 2.0), ("l1", 0.5), ("l1", 6.0))


def margins(graph, x, label):
    logits = graph.value(x)
    others = [c for c in range(graph.classes) if c != label]
    return logits[:, label : label + 1] - logits[:, others]


def worst(graph, start, x, label, rival, norm, eps):
    """A margin after projected gradient descent from the lowest of the points."""
    from martensite.threat import ThreatModel

    threat, point = ThreatModel(norm=norm, eps=eps), start.clone()
    lowest = torch.inf
    for step in range(30):
        point.requires_grad_()
        margin = margins(graph, point, label)[:, rival].sum()
        (gradient,) = torch.autograd.grad(margin, point)
        lowest = min(lowest, float(margin.detach()))
        length = eps * 0.5 * 0.9**step
        point = threat.project(point.detach() - length * threat.steepest_step(gradient, point.detach()), x)
    return lowest


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(BALLS), st.booleans())
def test_no_point_of_the_ball_goes_below_a_bound(name, nets, seed, ball, normalised):
    norm, eps = ball
    model = nets.make(name, seed, normalised)
    graph, x = nets.graph(model), nets.inputs(2, seed)
    labels = graph.value(x).argmax(1)
    bounds = Bounds.by_intervals(graph, nets.region(x, norm, eps))
    found = {
        "ibp": interval_margins(bounds, labels),
        "crown-ibp": linear_margins(bounds, labels, "intervals"),
        "crown": linear_margins(bounds, labels, "backward"),
        "alpha-crown": linear_margins(bounds, labels, "backward", steps=5),
    }
    for row in range(len(x)):
        cloud = nets.points(x[row], norm, eps, 10_000, seed)
        seen = margins(graph, cloud, int(labels[row]))
        least, place = seen.min(0)
        for rival in range(graph.classes - 1):
            start, center = cloud[place[rival]][None], x[row][None].double()
            least[rival] = min(float(least[rival]), worst(graph, start, center, int(labels[row]), rival, norm, eps))
        for method, bound in found.items():
            assert (bound[row] <= least + ROUNDED).all(), method


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_node_stays_inside_its_interval(name, norm, nets):
    graph, x, eps = nets.graph(nets.make(name, 3)), nets.inputs(1, 3), {"linf": 0.1, "l2": 0.5, "l1": 1.0}[norm]
    region = nets.region(x, norm, eps)
    plain, tight = propagate(graph, region, {}), Bounds.by_intervals(graph, region)
    tight.relax("backward")
    values = [nets.points(x[0], norm, eps, 2000, 1)]
    for node in graph.nodes[1:]:
        first = values[node.inputs[0]]
        values.append(first + values[node.inputs[1]] if isinstance(node.op, Add) else node.op.value(first))
    for value, outer, inner in zip(values, plain, tight.intervals, strict=True):
        assert (value >= inner.low - ROUNDED).all()
        assert (value <= inner.high + ROUNDED).all()
        assert (inner.low >= outer.low).all()
        assert (inner.high <= outer.high).all()
        assert (value.flatten(1).abs().amax(1) <= outer.size + ROUNDED).all()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.floats(-30, 30), st.floats(1e-9, 30), st.sampled_from([0.0, 0.1, 0.9]))
def test_lines_stay_on_their_side(low, width, slope):
    low, high = torch.tensor([low], dtype=torch.float64), torch.tensor([low + width], dtype=torch.float64)
    z = torch.cat([torch.lerp(low, high, torch.linspace(0, 1, 2001, dtype=torch.float64)), torch.zeros(1).clamp(low, high)])
    z = torch.cat([z, low, high]).clamp(low, high)
    for lines, value in (
        (rectifier_lines(slope, low, high), torch.where(z > 0, z, slope * z)),
        (tanh_lines(low, high), z.tanh()),
    ):
        offset = 0.0 if lines.lower_offset is None else lines.lower_offset
        assert (lines.lower_slope * z + offset <= value + 1e-15 * (1 + z.abs())).all()
        assert (lines.upper_slope * z + lines.upper_offset >= value - 1e-15 * (1 + z.abs())).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(-3, 3), st.floats(0.01, 4))
def test_lines_of_tanh_are_close(low, width):
    """Between the curve and each line there is less than what a chord or a constant would leave."""
    low, high = torch.tensor([low], dtype=torch.float64), torch.tensor([low + width], dtype=torch.float64)
    lines, z = tanh_lines(low, high), torch.linspace(float(low), float(high), 501, dtype=torch.float64)
    gap = lines.upper_slope * z + lines.upper_offset - lines.lower_slope * z - lines.lower_offset
    assert float(gap.mean()) <= float(high.tanh() - low.tanh()) + 1e-9
