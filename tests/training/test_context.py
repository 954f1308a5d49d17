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


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_attacked_in_the_mode_asked_for_and_comes_back_as_it_was(mode, tools, data, threat):
    """In training mode the batch's own statistics are in force, and the running ones stay where they were."""
    model = tools.make_model("noisy")
    model.net[3].p = 0.0
    context, x, y = tools.batch(model, data, threat)
    model.net[0].bias.requires_grad_(False)
    before, seen = tools.weights(model), []
    hook = model.net[1].register_forward_hook(lambda layer, *_: seen.append((layer.training, layer.weight.requires_grad)))
    adversarial = context.attack(FGSM(), x, y, mode=mode)
    hook.remove()
    assert seen == [(mode == "train", False)]
    assert tools.same(before, tools.weights(model))
    assert all(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, *[True] * 4]
    model.train(mode == "train")
    leaf = x.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(model(leaf), y, reduction="sum").backward()
    assert torch.equal(adversarial, (x + threat.eps * leaf.grad.sign()).clamp(0, 1))


def test_a_surrogate_is_attacked_in_its_stead_and_left_alone(tools, data, threat):
    model, other = tools.make_model("counted"), tools.make_model("counted", seed=1)
    context, x, y = tools.batch(model, data, threat)
    made = context.attack(PGD(steps=3), x, y, model=other.train())
    assert (model.net.count.forwards, other.net.count.forwards) == (0, 48)
    assert (context.forwards, context.backwards) == (48, 48)
    assert other.training
    alone = tools.batch(other, data, threat)[0].attack(PGD(steps=3), x, y)
    assert torch.equal(made, alone)


def test_a_search_begins_where_it_is_told(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    start = (x + 0.5 * threat.eps).clamp(0, 1)
    short = context.attack(PGD(steps=1, step_size=1e-6), x, y, start=start)
    assert (short - start).abs().max() < 2e-6
    far = context.attack(PGD(steps=1, step_size=1e-6), x, y, start=x + 1.0)
    assert (far - (x + threat.eps).clamp(0, 1)).abs().max() < 2e-6
    with pytest.raises(ConfigError, match="takes no start"):
        context.attack(FGSM(), x, y, start=start)


def test_a_second_attack_on_a_batch_draws_anew(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    one, other = (context.attack(PGD(steps=1, step_size=1e-6), x, y) for _ in range(2))
    assert not torch.equal(one, other)


def test_a_raised_level_doubles_the_steps_and_halves_them(tools, data, threat):
    context, x, y = tools.batch(tools.make_model("counted"), data, threat)
    context.level = 2
    assert (context.steps(3), context.step_size(0.4)) == (12, 0.1)
    before = context.backwards
    context.attack(PGD(steps=3), x, y)
    assert context.backwards - before == 12 * 16
    context.attack(FGSM(), x, y)
    assert context.backwards - before == (12 + 4) * 16
    assert context.heeded


def test_a_ramp_takes_fewer_steps_at_first(tools, data, threat):
    settings = TrainingSettings(ramp=Ramp(until=0.5, steps_from=0.0))
    context, _, _ = tools.batch(tools.make_model(), data, threat, settings=settings)
    taken = []
    for done in (0.01, 0.125, 0.25, 0.5, 0.9):
        context.begin_batch(streams(0, "test", 16), done=done)
        taken.append(context.steps(8))
    assert taken == [1, 2, 4, 8, 8]


def test_memory_keeps_a_row_for_each_training_sample(tools, data, threat):
    context, x, _ = tools.batch(tools.make_model(), data, threat)
    for rows in (torch.tensor([3, 90]), torch.tensor([90, 7])):
        context.begin_batch(streams(0, "test", rows), rows)
        context.memory.store("sum", context.memory.recall("sum", x[:2]) + rows[:, None])
    kept = context.memory.tensors["sum"]
    assert kept.shape == data.x.shape
    assert kept[:, 0].nonzero().flatten().tolist() == [3, 7, 90]
    assert kept[[3, 7, 90], 0].tolist() == [3.0, 7.0, 180.0]


def test_outside_a_batch_there_is_no_randomness(tools, threat):
    with pytest.raises(ConfigError, match="no batch"):
        _ = Context(tools.make_model(), threat).rng
