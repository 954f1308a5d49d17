"""What an objective may ask of its context."""

import pytest
import torch

from martensite.attacks import APGD, FGM, FGSM, MIFGSM, PGD, Attack, Oracle
from martensite.attacks.losses import ascend
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import streams
from martensite.threat import ThreatModel
from martensite.training import TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import PGDAT
from martensite.training.ramp import Ramp

SETTINGS = TrainingSettings(epochs=2, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2))


class Nearest(Attack):
    kind: str = "nearest_of_a_test"
    needs = PGD.needs
    norms = PGD.norms
    bounded = False


def test_an_objective_that_attacks_needs_a_threat_model(tools, data, validation):
    with pytest.raises(ConfigError, match="no threat model"):
        fit(tools.make_model(), data, validation, PGDAT(), SETTINGS)


def test_an_attack_that_leaves_the_ball_is_refused(tools, data, validation, threat):
    with pytest.raises(ThreatError, match="inside the ball"):
        fit(tools.make_model(), data, validation, PGDAT(attack=Nearest()), SETTINGS, threat=threat)


def test_an_attack_that_does_not_support_the_norm_is_refused(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat.model_copy(update={"norm": "l0", "eps": 2.0}))
    with pytest.raises(ThreatError, match="does not support l0"):
        context.attack(PGD(), x, y)


def test_a_batch_draws_by_sample_and_not_by_place(tools, data, threat):
    context = Context(tools.make_model(), threat)
    rows = torch.tensor([3, 8, 5, 1])
    context.begin_batch(streams(0, "test", rows))
    whole = context.attack(PGD(steps=2), data.x[rows], data.y[rows])
    context.begin_batch(streams(0, "test", rows.flip(0)))
    assert torch.allclose(context.attack(PGD(steps=2), data.x[rows.flip(0)], data.y[rows.flip(0)]), whole.flip(0), atol=1e-6)


@pytest.mark.parametrize("attack", [PGD(steps=4), APGD(steps=4), FGSM(), MIFGSM(steps=4)], ids=lambda attack: attack.kind)
def test_one_hot_probabilities_are_labels(attack, tools, data, threat):
    (context, x, y), (other, *_) = (tools.batch(tools.make_model(), data, threat) for _ in range(2))
    soft = torch.nn.functional.one_hot(y, 2).float()
    assert torch.equal(context.attack(attack, x, soft), other.attack(attack, x, y))


def test_a_part_of_the_batch_draws_as_it_does_within_the_whole(tools, data, threat):
    (context, x, y), (other, *_) = (tools.batch(tools.make_model(), data, threat) for _ in range(2))
    part = slice(4, 9)
    assert torch.allclose(context.attack(PGD(), x[part], y[part], part=part), other.attack(PGD(), x, y)[part], atol=1e-6)


def test_an_attack_sees_the_model_through_the_lens(tools, data, threat):
    class Upside(Oracle):
        def __init__(self, base):
            self.__dict__.update(vars(base), base=base)

        def gradient(self, *args, **options):
            logits, gradient = self.base.gradient(*args, **options)
            return logits, -gradient

    context, x, y = tools.batch(tools.make_model(), data, ThreatModel(norm="l2", eps=0.01))
    x = 0.2 + 0.6 * x
    straight, upside = context.attack(FGM(), x, y), context.attack(FGM(), x, y, lens=Upside)
    assert torch.allclose(straight - x, x - upside, atol=1e-6)
    assert context.backwards == 2 * len(x)


def test_scores_and_gradients_are_those_of_evaluation_mode_and_counted(tools, data, threat):
    model = tools.make_model("noisy")
    context, x, y = tools.batch(model, data, threat)
    scores = context.scores(x)
    logits, gradient = context.gradient(x, ascend("ce", y, "untargeted"))
    assert (context.forwards, context.backwards) == (2 * len(x), len(x))
    assert model.training
    leaf = x.clone().requires_grad_(True)
    expected = model.eval()(leaf)
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(expected, y, reduction="sum"), leaf)
    assert torch.allclose(scores, expected, atol=1e-6)
    assert torch.allclose(logits, expected, atol=1e-6)
    assert torch.allclose(gradient, slope, atol=1e-6)
    assert not scores.requires_grad


def test_the_strength_is_the_share_of_eps_in_force(tools, data, threat):
    context = Context(tools.make_model(), threat, TrainingSettings(ramp=Ramp(until=0.5)))
    for done, strength in ((0.125, 0.25), (0.5, 1.0), (0.9, 1.0)):
        context.begin_batch(streams(0, "test", 4), done=done)
        assert context.strength == pytest.approx(strength)
    assert Context(tools.make_model(), None).strength == 1.0
