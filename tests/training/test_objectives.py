"""What every objective owes, whichever it is: a member of the registry is tested by being there."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD, Attack
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.training import OBJECTIVES, TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import PGDAT, Standard

SETTINGS = TrainingSettings(epochs=2, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2))
# Forward and backward passes of one update, a sample, with the defaults; counted by hand.
PASSES = {"standard": (1, 1), "pgd_at": (10 + 2, 10 + 2)}

every_objective = pytest.mark.parametrize("cls", list(OBJECTIVES), ids=OBJECTIVES.names())


def batch(model, data, threat, n=16):
    context = Context(model.train(), threat)
    context.begin_batch(streams(0, "test", n))
    return context, data.x[:n], data.y[:n]


def shape_of(module):
    flags = [part.training for part in module.modules()]
    frozen = [parameter.requires_grad for parameter in module.parameters()]
    return flags, frozen


def contents(module):
    buffers = [buffer.clone() for buffer in module.buffers()]
    values = [parameter.detach().clone() for parameter in module.parameters()]
    grads = [None if parameter.grad is None else parameter.grad.clone() for parameter in module.parameters()]
    return [*values, *buffers, *grads]


def equal(one, other):
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(one, other, strict=True))


@pytest.fixture
def spy(monkeypatch):
    """Every adversarial batch made during training, with what the attack changed in the model."""
    seen, made = [], Context.attack

    def attack(self, method, x, y, **options):
        before, held = shape_of(self.model), contents(self.model)
        adversarial = made(self, method, x, y, **options)
        seen.append((x, adversarial, before == shape_of(self.model), equal(held, contents(self.model))))
        return adversarial

    monkeypatch.setattr(Context, "attack", attack)
    return seen


@every_objective
def test_rebuilt_from_its_record(cls):
    assert OBJECTIVES.build(cls().model_dump(mode="json")) == cls()


@every_objective
def test_the_loss_is_a_scalar_that_reaches_every_parameter(cls, tools, data, threat):
    model = tools.make_model("noisy")
    parts = cls().loss(*batch(model, data, threat))
    assert parts.total.shape == ()
    assert not any(figure.requires_grad for figure in parts.parts.values())
    parts.total.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@every_objective
def test_adversarials_stay_in_the_ball_and_the_attack_leaves_the_model_alone(cls, tools, data, validation, threat, spy):
    model = tools.make_model("noisy")
    model.net[0].bias.requires_grad_(False)
    fit(model, data, validation, cls(), SETTINGS, threat=threat)
    assert bool(spy) == (cls is not Standard)
    for x, adversarial, flags_kept, contents_kept in spy:
        assert adversarial.shape == x.shape
        assert not adversarial.requires_grad
        assert (adversarial - x).abs().max() <= threat.eps + 1e-6
        assert (adversarial - x).abs().max() > 0
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1
        assert flags_kept
        assert contents_kept


@every_objective
def test_the_update_moves_the_running_statistics_and_what_trains_and_nothing_else(cls, tools, data, validation, threat):
    model = tools.make_model("noisy")
    model.net[0].bias.requires_grad_(False)
    trained = fit(model, data, validation, cls(), SETTINGS, threat=threat).model
    updates = SETTINGS.epochs * 3
    assert trained.net[1].num_batches_tracked <= updates
    assert not torch.equal(trained.net[1].running_mean, model.net[1].running_mean)
    assert torch.equal(trained.net[0].bias, model.net[0].bias)
    assert not torch.equal(trained.net[0].weight, model.net[0].weight)
    assert [p.requires_grad for p in trained.parameters()] == [p.requires_grad for p in model.parameters()]
    assert not any(module.training for module in trained.modules())


@every_objective
def test_every_pass_is_counted(cls, tools, data, threat):
    model = tools.make_model("counted")
    context, x, y = batch(model, data, threat)
    cls().loss(context, x, y).total.backward()
    count = model.net.count
    assert (context.forwards, context.backwards) == (count.forwards, count.backwards)
    kind = cls().kind
    if kind in PASSES:
        assert (count.forwards, count.backwards) == tuple(16 * passes for passes in PASSES[kind])


@every_objective
@pytest.mark.parametrize("adversary", [True, False])
def test_every_pass_of_a_run_is_counted(cls, adversary, tools, data, validation, threat):
    if not adversary and cls is not Standard:
        pytest.skip("it needs an adversary")
    model = tools.make_model("counted")
    result = fit(model, data, validation, cls(), SETTINGS, threat=threat if adversary else None)
    probed = 2  # two samples are tried before any work starts
    assert (result.forwards, result.backwards) == (model.net.count.forwards - probed, model.net.count.backwards)


@every_objective
def test_the_loss_of_saturated_logits_is_finite(cls, data, threat):
    model = Classifier(nn.Linear(6, 2), 2)
    with torch.no_grad():
        model.net.weight.copy_(torch.tensor([[1.0] * 6, [-1.0] * 6]) * 4e3)
        model.net.bias.zero_()
    context, x, y = batch(model, data, threat)
    assert model(x).abs().max() > 1e4
    total = cls().loss(context, x, y).total
    total.backward()
    assert total.isfinite()
    assert model.net.weight.grad.isfinite().all()


@every_objective
def test_a_seed_decides_every_bit_and_the_global_stream_nothing(cls, tools, data, validation, threat):
    def run(seed, outside):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        result = fit(tools.make_model("noisy"), data, validation, cls(), SETTINGS, threat=threat, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return tools.weights(result.model), result.history

    with torch.random.fork_rng():
        (first, history), (again, history_again), (other, _) = run(0, 1), run(0, 2), run(1, 1)
    assert tools.same(first, again)
    assert history == history_again
    assert not tools.same(first, other)


@every_objective
def test_it_learns(cls, tools, data, validation, threat):
    settings = TrainingSettings(epochs=12, batch_size=16, lr=1e-2, validation_attack=PGD(steps=2), validate_every=4)
    best = fit(tools.make_model(), data, validation, cls(), settings, threat=threat).best
    assert best.clean >= 0.95
    assert best.robust >= 0.7


# pgd_at


def test_the_mix_is_a_mean_of_clean_and_adversarial_loss(tools, data, threat):
    model = tools.make_model()
    clean = Standard().loss(*batch(model, data, threat)).total
    hard = PGDAT(mix=0.0).loss(*batch(model, data, threat)).total
    for mix in (0.25, 0.5, 0.75):
        both = PGDAT(mix=mix).loss(*batch(model, data, threat))
        assert torch.isclose(both.total, mix * clean + (1 - mix) * hard)
        assert torch.isclose(both.parts["clean"], clean)
        assert torch.isclose(both.parts["adversarial"], hard)
    assert hard > clean


def test_adversarial_training_runs_its_attack_to_the_end(tools, data, threat):
    model = tools.make_model("counted")
    context, x, y = batch(model, data, threat)
    with torch.no_grad():
        wrong = model(x).argmax(1) != y
    assert wrong.any()
    before = model.net.count.backwards
    context.attack(PGD(steps=7), x, y)
    assert model.net.count.backwards - before == 7 * len(x)


@pytest.mark.parametrize("mix", [-0.1, 1.0, 1.5])
def test_a_mix_out_of_range_is_refused(mix):
    with pytest.raises(ConfigError, match="mix"):
        PGDAT(mix=mix)


# the context


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
    context, x, y = batch(tools.make_model(), data, threat.model_copy(update={"norm": "l0", "eps": 2.0}))
    with pytest.raises(ThreatError, match="does not support l0"):
        context.attack(PGD(), x, y)


def test_a_batch_draws_by_sample_and_not_by_place(tools, data, threat):
    context = Context(tools.make_model(), threat)
    rows = torch.tensor([3, 8, 5, 1])
    context.begin_batch(streams(0, "test", rows))
    whole = context.attack(PGD(steps=2), data.x[rows], data.y[rows])
    context.begin_batch(streams(0, "test", rows.flip(0)))
    assert torch.allclose(context.attack(PGD(steps=2), data.x[rows.flip(0)], data.y[rows.flip(0)]), whole.flip(0), atol=1e-6)
