"""Bounds are exact where they can be: linear models in closed form, linear programs, the clean input, rational arithmetic."""

import itertools
from fractions import Fraction

import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from martensite.certification.bounds.alpha import optimise
from martensite.certification.bounds.linear import Bounds, margin_rows
from martensite.certification.bounds.lower import lower
from martensite.certification.bounds.margins import interval_margins, linear_margins
from martensite.certification.bounds.rows import Rows, picking
from martensite.models import Classifier

DUAL = {"linf": 1, "l2": 2, "l1": float("inf")}


def linear_model(size, seed):
    net = nn.Linear(size, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return Classifier(net.requires_grad_(False), 3)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_linear_model_inside_the_box(norm, nets):
    """The least margin is w x + b - eps times the dual norm of w."""
    model, x = linear_model(7, 1), torch.full((5, 7), 0.5) + 0.1 * nets.inputs(5, 2, (7,))
    graph, labels = lower(model, (7,)), torch.tensor([0, 1, 2, 0, 1])
    bounds = Bounds.by_intervals(graph, nets.region(x, norm, 0.2))
    rows = margin_rows(labels, 3)
    w, b = rows.a @ model.net.weight, rows.a @ model.net.bias
    expected = (w * x.double()[rows.owner]).sum(1) + b - 0.2 * torch.linalg.vector_norm(w, DUAL[norm], dim=1)
    assert torch.allclose(linear_margins(bounds, labels, "backward").flatten(), expected, rtol=0, atol=1e-9)
    if norm == "linf":  # of the other balls, intervals know the box around them
        assert torch.allclose(interval_margins(bounds, labels).flatten(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eps", [0.1, 0.7, 2.5, 40.0])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_least_value_on_ball_and_box(norm, eps, nets):
    """Against a linear program, and for L2 against a search over the price by bisection to the end."""
    a = torch.randn(6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a[0, 3] = a[1, :4] = 0.0
    x = nets.inputs(6, 4, (8,)).double()
    x[2] = 0.0
    region = nets.region(x, norm, eps)
    found = region.least(Rows(a, torch.arange(6)))
    for row in range(6):
        w, center = a[row].numpy(), x[row].numpy()
        if norm == "l2":
            exact = _least_l2(w, center, eps)
        else:
            low, high = region.low[row].numpy(), region.high[row].numpy()
            exact = _least_by_program(w, center, eps, low, high, norm)
        assert float(found[row]) <= exact + 1e-9
        assert float(found[row]) >= exact - 1e-6


def _least_by_program(w, center, eps, low, high, norm):
    """Up and down moves u, v >= 0: minimise w (u - v), with sum(u + v) <= eps for L1."""
    moves = [(0, h - c) for h, c in zip(high, center, strict=True)] + [(0, c - low_) for low_, c in zip(low, center, strict=True)]
    limits = {"A_ub": [[1.0] * 2 * len(w)], "b_ub": [eps]} if norm == "l1" else {}
    return float(w @ center) + linprog([*w, *(-w)], bounds=moves, **limits).fun


def _least_l2(w, center, eps):
    """Entries move by w / lambda until the box stops them; the lambda at which the length is eps, by bisection."""
    room = [c if slope > 0 else 1.0 - c for slope, c in zip(w, center, strict=True)]
    low, high = 1e-12, 1e6
    for _ in range(200):
        price = (low * high) ** 0.5
        moves = [min(abs(slope) / price, r) for slope, r in zip(w, room, strict=True)]
        low, high = (price, high) if sum(move * move for move in moves) > eps * eps else (low, price)
    return float(w @ center) - sum(abs(slope) * move for slope, move in zip(w, moves, strict=True))


def test_the_clean_input_alone(nets):
    for name in nets.names:
        graph, x = nets.graph(nets.make(name, 5)), nets.inputs(3, 5)
        logits = graph.value(x)
        labels, bounds = logits.argmax(1), Bounds.by_intervals(graph, nets.region(x, "linf", 0.0))
        expected = (margin_rows(labels, nets.classes).a * logits.repeat_interleave(nets.classes - 1, 0)).sum(1).view(3, -1)
        for found in (interval_margins(bounds, labels), linear_margins(bounds, labels, "backward", steps=2)):
            assert torch.allclose(found, expected, rtol=0, atol=1e-8), name
            assert (found <= expected).all(), name


def tiny(seed, hidden=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2)).double()
        net[0].weight.data.mul_(3.0)
        return Classifier(net.requires_grad_(False), 2)


def exact_margin(net, x, eps):
    """The least margin of class 0 over the Linf ball and the box: a linear program for each pattern of active rectifiers."""
    w1, b1, w2, b2 = (net[i].__getattr__(part).numpy() for i in (0, 2) for part in ("weight", "bias"))
    c, d = w2[0] - w2[1], b2[0] - b2[1]
    ends = [(max(0.0, v - eps), min(1.0, v + eps)) for v in x.tolist()]
    least = float("inf")
    for pattern in itertools.product((0, 1), repeat=len(b1)):
        on = [2 * p - 1 for p in pattern]
        solved = linprog(
            (c * pattern) @ w1, A_ub=[-s * row for s, row in zip(on, w1, strict=True)],
            b_ub=[s * v for s, v in zip(on, b1, strict=True)], bounds=ends,
        )  # fmt: skip
        if solved.status == 0:
            least = min(least, solved.fun + float((c * pattern) @ b1) + d)
    return least


def triangle_margin(net, x, eps):
    """The optimum of the relaxation in which each rectifier is a triangle (Ehlers 2017): what optimal slopes give by duality."""
    w1, b1, w2, b2 = (net[i].__getattr__(part).numpy() for i in (0, 2) for part in ("weight", "bias"))
    c, d, n = w2[0] - w2[1], b2[0] - b2[1], len(b1)
    ends = [(max(0.0, v - eps), min(1.0, v + eps)) for v in x.tolist()]
    rows, limits = [], []
    for j in range(n):
        low = b1[j] + sum(min(w * e for e in end) for w, end in zip(w1[j], ends, strict=True))
        high = b1[j] + sum(max(w * e for e in end) for w, end in zip(w1[j], ends, strict=True))
        unit = [0.0] * n
        unit[j] = 1.0
        if low >= 0:
            slope, offset = 1.0, 0.0
        elif high <= 0:
            slope, offset = 0.0, 0.0
        else:
            slope, offset = high / (high - low), -low * high / (high - low)
        rows += [[*(-slope * w1[j]), *unit], [*((w1[j]) if high > 0 else 0 * w1[j]), *[-u for u in unit]]]
        limits += [slope * b1[j] + offset, -b1[j] if high > 0 else 0.0]
    bounds = [*ends, *[(0.0, None)] * n]
    return linprog([0.0, 0.0, 0.0, *c], A_ub=rows, b_ub=limits, bounds=bounds).fun + d


@pytest.mark.parametrize("seed", range(8))
def test_tiny_networks_against_enumeration_and_the_triangle_program(seed, nets):
    model = tiny(seed)
    x, eps = nets.inputs(1, seed, (3,)).double(), 0.15
    graph, label = lower(model, (3,)), torch.tensor([0])
    bounds = Bounds.by_intervals(graph, nets.region(x, "linf", eps))
    crown = float(linear_margins(bounds, label, "backward"))
    best = float(optimise(bounds, margin_rows(label, 2), 200))
    exact, triangle = exact_margin(model.net, x[0], eps), triangle_margin(model.net, x[0], eps)
    assert max(crown, best) <= triangle + 1e-9
    assert triangle <= exact + 1e-9
    if best <= 0:  # it stops once a bound is positive
        assert best >= triangle - 0.01 * abs(exact - crown) - 1e-3


@pytest.mark.parametrize("seed", range(8))
def test_tiny_networks_are_bounded_exactly_where_no_rectifier_is_open(seed, nets):
    model, x = tiny(seed), nets.inputs(1, seed + 50, (3,)).double()
    graph, label = lower(model, (3,)), torch.tensor([0])
    eps = 0.5 * float((model.net[0](x).abs() / model.net[0].weight.abs().sum(1)).min())
    bounds = Bounds.by_intervals(graph, nets.region(x, "linf", eps))
    assert float(linear_margins(bounds, label, "backward")) == pytest.approx(exact_margin(model.net, x[0], eps), abs=1e-8)


def test_a_bound_is_one_in_rational_arithmetic(nets):
    """Weights of very different sizes, whose sums nearly cancel: float64 loses what the margin is about, a bound doesn't."""
    generator = torch.Generator().manual_seed(0)
    for trial in range(20):
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).double()
        for parameter in net.parameters():
            size = 10.0 ** torch.randint(-6, 7, parameter.shape, generator=generator)
            parameter.data = size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        x = torch.rand(1, 6, generator=generator, dtype=torch.float64)
        graph = lower(Classifier(net.requires_grad_(False), 2), (6,))
        bounds = Bounds.by_intervals(graph, nets.region(x, "linf", 0.0))
        exact = _rational_margin(net, x[0])
        for found in (interval_margins(bounds, torch.tensor([0])), linear_margins(bounds, torch.tensor([0]), "backward")):
            assert Fraction(float(found)) <= exact, trial


def _rational_margin(net, x):
    def affine(layer, z):
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        return [
            Fraction(b) + sum(Fraction(w) * v for w, v in zip(row, z, strict=True)) for row, b in zip(weight, bias, strict=True)
        ]

    hidden = [max(Fraction(0), z) for z in affine(net[0], [Fraction(v) for v in x.tolist()])]
    first, second = affine(net[2], hidden)
    return first - second


def test_linear_bounds_certify_what_interval_bounds_do(nets):
    """Not a theorem margin by margin, so that it is counted; intervals and lines agree where all is linear."""
    counts = {"ibp": 0, "crown-ibp": 0, "crown": 0, "alpha": 0}
    for name in nets.names:
        for seed in range(4):
            graph, x = nets.graph(nets.make(name, seed)), nets.inputs(8, seed)
            labels = graph.value(x).argmax(1)
            bounds = Bounds.by_intervals(graph, nets.region(x, "linf", 0.02))
            for method, found in (
                ("ibp", interval_margins(bounds, labels)),
                ("crown-ibp", linear_margins(bounds, labels, "intervals")),
                ("crown", linear_margins(bounds, labels, "backward")),
                ("alpha", linear_margins(bounds, labels, "backward", steps=10)),
            ):
                counts[method] += int((found.amin(1) > 0).sum())
    assert counts["ibp"] < counts["crown-ibp"] < counts["crown"] <= counts["alpha"]


@pytest.mark.parametrize("name", ["convolutions", "average", "residual"])
def test_windows_give_the_bounds_of_whole_rows(name, nets):
    graph, x = nets.graph(nets.make(name, 2)), nets.inputs(3, 2)
    bounds = Bounds.by_intervals(graph, nets.region(x, "linf", 0.05))
    bounds.relax("intervals")
    for place, node in enumerate(graph.nodes):
        if type(node.op).__name__ != "Convolution":
            continue
        neurons = torch.arange(torch.Size(node.shape).numel()).repeat(len(x))
        owner = torch.arange(len(x)).repeat_interleave(len(neurons) // len(x))
        windowed, whole = (
            bounds._backward(place, picking(neurons, node.shape, owner, windowed=flag), {}) for flag in (True, False)
        )
        assert torch.allclose(windowed, whole, rtol=0, atol=1e-11)


def test_slsqp_agrees_on_l2(nets):
    """A solver that knows nothing of prices."""
    a, x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), torch.tensor([[0.1, 0.8, 0.5]], dtype=torch.float64)
    found = float(nets.region(x, "l2", 0.4).least(Rows(a, torch.tensor([0]))))
    center = x[0].numpy()
    within = {"type": "ineq", "fun": lambda z: 0.16 - ((z - center) ** 2).sum()}
    solved = minimize(lambda z: a[0].numpy() @ z, center, bounds=[(0, 1)] * 3, constraints=[within], method="SLSQP", tol=1e-12)
    assert found == pytest.approx(solved.fun, abs=1e-6)
