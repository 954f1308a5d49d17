"""Certified training's worst logits: no point of the ball is worse, and gradients reach the weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from martensite.attacks import PGD
from martensite.core.errors import ModelError
from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training import Ramp, TrainingSettings
from martensite.training.context import Context
from martensite.training.objectives import IBP, MTLIBP, SABR, CrownIBP
from martensite.training.worst_case import worst_logits

THREAT = ThreatModel(eps=0.1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(48, 4)

    def forward(self, x):
        h = F.relu(self.first(x))
        return self.last((h + F.leaky_relu(self.second(h), 0.1)).flatten(1))


def nets():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return {
            "dense": nn.Sequential(
                nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 12), nn.LeakyReLU(0.2), nn.Linear(12, 4)
            ),
            "residual": Residual(),
            "pooled": nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.ReLU(),
                nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 4), nn.Sigmoid(),
            ),
        }  # fmt: skip


@pytest.fixture(params=list(nets()))
def context(request):
    found = Context(Classifier(nets()[request.param], 4, mean=0.4, std=0.3).eval(), THREAT)
    found.begin_batch(streams(0, "test", 24))
    return found


@pytest.fixture
def x():
    return torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(1))


Y = torch.arange(24) % 4


def worse(logits):
    """(n, K) logits as `worst_logits` writes them: less that of the label."""
    return logits - logits.gather(1, Y[: len(logits), None])


@pytest.mark.parametrize("linear", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_point_of_the_ball_is_worse(context, x, linear, norm):
    threat = ThreatModel(norm=norm, eps=0.1)
    worst = worst_logits(context, x, Y, threat, linear)
    assert torch.equal(worst.gather(1, Y[:, None]), torch.zeros(24, 1))
    with torch.no_grad():
        for draw in range(200):
            point = threat.random_start(x, streams(draw, "start", 24))
            assert (worse(context.model(point)) <= worst + 1e-5).all()
        for sign in (-1.0, 1.0):
            point = threat.project(x + sign * 0.1, x)
            assert (worse(context.model(point)) <= worst + 1e-5).all()


def test_at_radius_zero_they_are_the_logits(context, x):
    for linear in (0.0, 1.0):
        worst = worst_logits(context, x, Y, ThreatModel(eps=1e-7), linear)
        assert torch.allclose(worst, worse(context.model(x)), atol=1e-4)


def test_of_a_linear_model_they_are_exact(x):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    context = Context(Classifier(linear, 4), THREAT)
    context.begin_batch(streams(0, "test", 24))
    rows = linear[1].weight[:, None] - linear[1].weight  # (K, K, 16): of one class less another
    low, high = (x.flatten(1) - 0.1).clamp_min(0), (x.flatten(1) + 0.1).clamp_max(1)
    away = rows[:, Y].transpose(0, 1)  # (n, K, 16)
    best = torch.where(away > 0, high[:, None], low[:, None])
    exact = (away * best).sum(2) + linear[1].bias - linear[1].bias[Y][:, None]
    for share in (0.0, 1.0):
        assert torch.allclose(worst_logits(context, x, Y, THREAT, share), exact, atol=1e-5)


def test_lines_are_tighter_than_intervals_on_a_plain_network(x):
    """Not a theorem for every entry; over 24 inputs and four layers the mean leaves no doubt."""
    context = Context(Classifier(nets()["dense"], 4).eval(), THREAT)
    intervals, lines = (worst_logits(context, x, Y, THREAT, share) for share in (0.0, 1.0))
    assert lines.mean() < 0.9 * intervals.mean()


@pytest.mark.parametrize("linear", [0.0, 1.0])
def test_gradients_are_those_of_the_bound(context, x, linear):
    """Against differences, in float64, along one direction of the weights."""
    context.model.double()
    weight = next(parameter for parameter in context.model.parameters() if parameter.dim() > 1)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value():
        return F.cross_entropy(worst_logits(context, x.double(), Y, THREAT, linear), Y)

    (gradient,) = torch.autograd.grad(value(), weight)
    step = 1e-6
    with torch.no_grad():
        weight += step * direction
        above = value()
        weight -= 2 * step * direction
        below = value()
    assert float((gradient * direction).sum()) == pytest.approx(float((above - below) / (2 * step)), rel=1e-3, abs=1e-6)


def test_the_clean_loss_gives_way_to_the_bound_as_eps_grows(tools, data):
    settings = TrainingSettings(ramp=Ramp(until=1.0))
    context = Context(tools.make_model(), ThreatModel(eps=0.2), settings)
    x, y = data.x[:16], data.y[:16]
    for done in (0.0, 0.5, 1.0):
        context.begin_batch(streams(0, "test", 16), done=done)
        parts = IBP(kappa=0.25).measure(context, x, x, y)
        share = 1.0 - 0.75 * max(done, 1e-6)
        assert float(parts.total) == pytest.approx(
            float(share * parts.parts["clean"] + (1 - share) * parts.parts["bound"]), rel=1e-5
        )
    assert float(CrownIBP(kappa=0.25).measure(context, x, x, y).total) == pytest.approx(
        float(parts.total), rel=1e-5
    )  # at the end
    context.begin_batch(streams(0, "test", 16), done=0.5)
    half = [kind(kappa=0.25).measure(context, x, x, y).parts["bound"] for kind in (IBP, CrownIBP)]
    assert half[1] < half[0]


def test_the_small_box_lies_in_the_ball(tools, data):
    context = Context(tools.make_model(), ThreatModel(eps=0.2))
    x, y = data.x[:16], data.y[:16]
    context.begin_batch(streams(0, "test", 16))
    centre = SABR(share=0.4, attack=PGD(steps=3)).adversarials(context, x, y)
    assert (centre - x).abs().max() <= 0.6 * 0.2 + 1e-6
    assert (centre - x).abs().max() > 0.5 * 0.2


def test_the_mixture_spans_from_adversarial_training_to_intervals(tools, data):
    context = Context(tools.make_model(), THREAT)
    x, y = data.x[:16], data.y[:16]
    context.begin_batch(streams(0, "test", 16))
    adversarial = MTLIBP().adversarials(context, x, y)
    parts = MTLIBP(alpha=0.3).measure(context, x, adversarial, y)
    assert float(parts.total) == pytest.approx(
        0.7 * float(parts.parts["adversarial"]) + 0.3 * float(parts.parts["bound"]), rel=1e-5
    )
    assert parts.parts["bound"] > parts.parts["adversarial"]


def test_a_layer_without_bounds_is_refused_by_name(tools, data):
    context = Context(Classifier(nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2)), 2), THREAT)
    context.begin_batch(streams(0, "test", 4))
    with pytest.raises(ModelError, match="GELU"):
        worst_logits(context, data.x[:4], data.y[:4], THREAT)
