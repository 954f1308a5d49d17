"""Several norms: max takes the worst, msd climbs at least as far, sample draws by robust errors."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD
from martensite.core.errors import ConfigError
from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training import TrainingSettings
from martensite.training.context import Context
from martensite.training.objectives import MultiNorm
from martensite.training.objectives.msd import MSD
from martensite.training.ramp import Ramp

OTHERS = {"l2": 0.25, "l1": 0.4}


def values(model, points, y):
    with torch.no_grad():
        return nn.functional.cross_entropy(model.eval()(points), y, reduction="none")


def test_max_takes_the_worst_norm_of_each_sample(tools, data, threat, monkeypatch):
    model = tools.make_model()
    context, x, y = tools.batch(model, data, threat, n=40)
    candidates, attack = [], Context.attack

    def watched(self, method, x, y, *, threat):
        candidates.append(attack(self, method, x, y, threat=threat))
        return candidates[-1]

    monkeypatch.setattr(Context, "attack", watched)
    found = MultiNorm(others=OTHERS, mode="max").adversarials(context, x, y)
    each = torch.stack([values(model, candidate, y) for candidate in candidates])
    assert torch.equal(values(model, found, y), each.amax(0))
    assert len(set(each.argmax(0).tolist())) > 1


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0]),  # L2 reaches furthest
        torch.tensor([0.1, -0.1, 3.0, 0.2, -0.1, 0.1]),  # L1
        torch.tensor([2.0, -1.0, 0.5, 1.5, -0.1, 1.0]),
    ],
)
def test_on_a_linear_model_msd_ends_where_the_worst_single_norm_does(weight, threat, tools):
    """The optimum over a union is the best of the balls' optima, and each is known: x + eps * dual-norm direction."""
    model = Classifier(nn.Linear(6, 2), 2)
    with torch.no_grad():
        model.net.weight.copy_(torch.stack([-weight, weight]))
    context, x, y = tools.batch(model, tools.make_data(40, 4), threat, n=40)
    x = 0.45 + 0.1 * x  # no ball reaches a face of the box
    found = MultiNorm(others=OTHERS, mode="msd", steps=20).adversarials(context, x, y)
    w = 2 * weight
    gain = max(threat.eps * w.abs().sum(), OTHERS["l2"] * w.norm(), OTHERS["l1"] * w.abs().max())
    climbed = ((found - x) @ w) * torch.where(y == 0, 1.0, -1.0)
    assert (climbed >= 0.97 * gain).all()
    assert (climbed <= gain * (1 + 1e-5)).all()


def test_msd_never_leaves_the_union(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat, n=40)
    balls = (threat, ThreatModel(norm="l2", eps=0.25), ThreatModel(norm="l1", eps=0.4))
    found = context.attack(MSD(balls=balls, steps=7), x, y)
    inside = torch.stack([ball.distance(x, found) <= ball.eps + 1e-6 for ball in balls])
    assert inside.any(0).all()


def test_sample_draws_a_norm_with_the_chance_of_its_share_of_errors(tools, data, threat):
    """2,000 batches, true share 0.75: a mean within 4.5 standard deviations (0.0097 each) fails once in 150,000 seeds."""
    context, objective = Context(tools.make_model(), threat), MultiNorm(others={"l1": 0.4})
    context.state.update(
        {
            "multi_norm.wrong": torch.tensor([10.0, 60.0], dtype=torch.float64),
            "multi_norm.seen": torch.tensor([100.0, 200.0], dtype=torch.float64),
        }
    )
    drawn = []
    for seed in range(2000):
        context.begin_batch(streams(seed, "test", 2))
        drawn.append(objective._draw(context, 2))
    assert abs(sum(drawn) / 2000 - 0.75) < 4.5 * 0.0097


def test_sample_attacks_in_the_drawn_norm_and_keeps_account(tools, data, threat):
    model = tools.make_model()
    context, x, y = tools.batch(model, data, threat)
    objective, seen = MultiNorm(others=OTHERS), set()
    for seed in range(12):
        context.begin_batch(streams(seed, "test", len(x)))
        balls = objective.balls(threat)
        adversarial = objective.adversarials(context, x, y)
        drawn = int(context.state["multi_norm.drawn"])
        assert torch.equal(adversarial, _again(context, seed, x, y, balls[drawn]))
        wrong, counted = (context.state[f"multi_norm.{name}"].clone() for name in ("wrong", "seen"))
        objective.measure(context, x, adversarial, y)
        misses = int((model(adversarial).argmax(1) != y).sum())
        assert float(context.state["multi_norm.wrong"][drawn] - wrong[drawn]) == pytest.approx(misses, abs=1e-4)
        assert float(context.state["multi_norm.seen"][drawn] - counted[drawn]) == len(x)
        seen.add(drawn)
    assert seen == {0, 1, 2}


def _again(context, seed, x, y, ball):
    context.begin_batch(streams(seed, "test", len(x)))
    return context.attack(PGD(steps=10), x, y, threat=ball)


def test_a_ramp_scales_every_norm(tools, data, threat):
    settings = TrainingSettings(ramp=Ramp(until=0.5))
    context = Context(tools.make_model(), threat, settings)
    context.begin_batch(streams(0, "test", 16), done=0.25)
    assert [ball.eps for ball in MultiNorm(others=OTHERS)._balls(context.threat, context.strength)] == pytest.approx(
        [threat.eps / 2, 0.125, 0.2]
    )


@pytest.mark.parametrize(
    "wrong", [{}, {"others": {}}, {"others": {"l3": 1.0}}, {"others": {"l1": 0.0}}, {"others": {"l1": 1.0}, "mode": "avg"}]
)
def test_what_it_refuses(wrong):
    with pytest.raises(ConfigError):
        MultiNorm(**wrong)


def test_the_threat_models_own_norm_is_no_other(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    with pytest.raises(ConfigError, match="own"):
        MultiNorm(others={"linf": 0.1, "l1": 0.4}).loss(context, x, y)
