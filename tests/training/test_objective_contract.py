"""What every objective owes, whichever it is: a member of the registry is tested by being there."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from martensite.attacks import PGD, attack
from martensite.data import Dataset, load_data
from martensite.data.split import hold_out
from martensite.models import Classifier, build
from martensite.threat import Constraints, ThreatModel
from martensite.threat.violations import violations
from martensite.training import OBJECTIVES, Ramp, TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import Standard

SETTINGS = TrainingSettings(epochs=2, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2))
# What can't be built without arguments, or needs others on so little data; without an entry, the defaults.
NEEDED = {"multi_norm": {"others": {"l1": 0.3}}, "consistency": {"sigma": 0.1}}
MODES = [("multi_norm", {"others": {"l1": 0.3}, "mode": mode}) for mode in ("max", "msd")]
MEMBERS = [(name, NEEDED.get(name, {})) for name in OBJECTIVES.names()] + MODES
IDS = [name + (f"-{options['mode']}" if "mode" in options else "") for name, options in MEMBERS]
UNHARMED = {"standard", "gaussian", "consistency", "ibp", "crown_ibp"}  # without an adversary
UNMOVED = {"standard", "ibp", "crown_ibp"}  # what they run the model on is the clean input

# On digits, where standard training leaves 0.08: what every objective clears within eight epochs.
DIGITS_THREAT, FLOOR = ThreatModel(eps=0.15), 0.3
SHORT = {"kind": "pgd", "steps": 5}
DIGITS = {
    **{name: {"attack": SHORT} for name in ("alp", "ensemble_at", "mart", "pgd_at", "trades")},
    "awp": {"inner": {"kind": "pgd_at", "attack": SHORT}},
    "mtl_ibp": {"alpha": 0.01, "attack": SHORT},
    "sabr": {"share": 0.1, "attack": SHORT},
    "free": {"m": 4},
    "mixed": {"attacks": [SHORT, {**SHORT, "loss": "margin"}]},
    "multi_norm": {"others": {"l1": 1.5}, "steps": 5},
}
LONG = [("multi_norm", {**DIGITS["multi_norm"], "mode": mode}) for mode in ("max", "msd")]
SMOKE = [pytest.param(name, DIGITS.get(name, {}), id=name) for name in OBJECTIVES.names() if name not in UNHARMED]
SMOKE += [pytest.param(*member, id=f"{member[0]}-{member[1]['mode']}", marks=pytest.mark.slow) for member in LONG]


@pytest.fixture(params=MEMBERS, ids=IDS)
def objective(request):
    name, options = request.param
    return OBJECTIVES.get(name)(**options)


@pytest.fixture
def surrogates(objective, tools):
    """For `fit`: what an objective is given besides."""
    return {"surrogates": (tools.make_model(seed=7),)} if objective.kind == "ensemble_at" else {}


def batch(objective, model, data, threat, tools, **options):
    held = [tools.make_model(seed=7).to(model.dtype)] if objective.kind == "ensemble_at" else []
    return tools.batch(model, data, threat, **{"surrogates": held, **options})


def finish(context, parts):
    parts.total.backward()
    context.run_callbacks()


def flags(model):
    return [module.training for module in model.modules()], [parameter.requires_grad for parameter in model.parameters()]


def contents(model):
    grads = [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]
    return [*(tensor.clone() for tensor in model.state_dict().values()), *grads]


def equal(one, other):
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(one, other, strict=True))


def test_it_is_rebuilt_from_its_record(objective):
    assert OBJECTIVES.build(objective.model_dump(mode="json")) == objective


def test_the_loss_is_a_scalar_that_reaches_every_parameter(objective, tools, data, threat):
    model = tools.make_model("noisy")
    context, x, y = batch(objective, model, data, threat, tools)
    parts = objective.loss(context, x, y)
    assert parts.total.shape == ()
    assert parts.total.isfinite()
    assert all(not figure.requires_grad and figure.shape == () for figure in parts.parts.values())
    finish(context, parts)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_search_leaves_modes_buffers_and_gradients_alone(objective, tools, data, threat, monkeypatch):
    model = tools.make_model("noisy")
    model.net[0].bias.requires_grad_(False)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(number))
    context, x, y = batch(objective, model, data, threat, tools)
    model.net[3].eval()  # a mixture of modes
    asked, oracle = [], Context._oracle

    @contextmanager
    def watched(self, seen, mode):
        before = flags(model), contents(model)
        with oracle(self, seen, mode) as answers:
            assert not any(module.training for module in seen.modules())
            assert not any(parameter.requires_grad for parameter in seen.parameters())
            yield answers
        asked.append(before[0] == flags(model) and equal(before[1], contents(model)))

    monkeypatch.setattr(Context, "_oracle", watched)
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    objective.loss(context, x, y)
    assert all(asked)
    assert bool(asked) == (objective.kind not in UNHARMED | {"free", "freelb"})
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(model.parameters(), grads, strict=True))


def trained_on(monkeypatch, objective):
    """Clean inputs, and what the update runs the model on instead, a pair a pass of the update; filled as training goes on."""
    seen, clean, logits, loss_of = [], {}, Context.logits, type(objective).loss

    def watched_logits(self, x):
        seen.append((clean[id(self)], x.detach().clone()))
        return logits(self, x)

    def watched_loss(self, context, x, y):
        clean[id(context)] = x
        return loss_of(self, context, x, y)

    monkeypatch.setattr(Context, "logits", watched_logits)
    monkeypatch.setattr(type(objective), "loss", watched_loss)
    return seen


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_trains_on_points_of_ball_and_box(objective, norm, tools, data, validation, monkeypatch, surrogates):
    threat = ThreatModel(norm=norm, eps={"linf": 0.08, "l2": 0.15}[norm])
    seen = trained_on(monkeypatch, objective)
    fit(tools.make_model("noisy"), data, validation, objective, SETTINGS, threat=threat, **surrogates)
    balls, moved = objective.balls(threat), 0.0
    assert bool(seen) == (objective.kind != "sabr")  # which only bounds its points
    for x, points in seen:
        for point in points.split(len(x)):
            moved += float((point - x).abs().max())
            if balls:
                inside = torch.stack([ball.distance(x, point) <= ball.eps * (1 + 1e-5) + 1e-6 for ball in balls])
                assert inside.any(0).all()
                assert point.min() >= 0
                assert point.max() <= 1
    assert (moved > 0) == (objective.kind not in UNMOVED | {"sabr"})


TABLE = Constraints(integer=("2",), units={"2": (0.0, 10.0)}, one_hot=(("4", "5"),), relations=("x3 <= x1",))
CONSTRAINED = {
    "table": ThreatModel(eps=0.2, constraints=TABLE),
    "grid": ThreatModel(eps=0.08, constraints=Constraints(levels=21)),
}


def brought_into(kind, data):
    """The data with what the constraints ask; its classes stay as they are but for rounding."""
    x = (20 * data.x).round() / 20 if kind == "grid" else data.x.clone()
    if kind == "table":
        x[:, 2] = (10 * x[:, 2]).round() / 10
        x[:, 3] = torch.minimum(x[:, 3], x[:, 1])
        x[:, 4] = (x[:, 4] > 0.5).float()
        x[:, 5] = 1 - x[:, 4]
    return Dataset(x, data.y, 2, split=data.split)


@pytest.mark.parametrize("kind", CONSTRAINED)
def test_it_trains_on_points_that_the_constraints_allow(objective, kind, tools, data, validation, monkeypatch, surrogates):
    threat = CONSTRAINED[kind]
    if not objective.balls(threat):
        return  # noise, which is no input that anybody sends
    data, validation = brought_into(kind, data), brought_into(kind, validation)
    seen, moved = trained_on(monkeypatch, objective), 0.0
    fit(tools.make_model("noisy"), data, validation, objective, SETTINGS, threat=threat, **surrogates)
    assert bool(seen) == (objective.kind != "sabr")
    balls = objective.balls(threat)
    for x, points in seen:
        for point in points.split(len(x)):
            moved += float((point - x).abs().max())
            assert not violations(point, x, threat.constraints, threat.box)
            inside = torch.stack([ball.distance(x, point) <= ball.eps * (1 + 1e-5) + 1e-6 for ball in balls])
            assert inside.any(0).all()
    assert (moved > 0) == (objective.kind not in UNMOVED | {"sabr"})


def test_every_pass_is_counted_and_declared(objective, tools, data, threat):
    model = tools.make_model("counted")
    context, x, y = batch(objective, model, data, threat, tools, surrogates=[model])
    finish(context, objective.loss(context, x, y))
    count, (forwards, backwards) = model.net.count, objective.bound_passes(len(x))  # of which the net knows nothing
    assert (context.forwards, context.backwards) == (count.forwards + forwards, count.backwards + backwards)
    assert objective.passes(len(x)) == (context.forwards, context.backwards)


def test_every_pass_of_a_run_is_counted(objective, tools, data, validation, threat):
    model = tools.make_model("counted")
    held = (model,) if objective.kind == "ensemble_at" else ()
    result = fit(model, data, validation, objective, SETTINGS, threat=threat, surrogates=held)
    # Two samples are tried on the model, and on each surrogate, before any work starts.
    probed, bounds = 2 + 2 * len(held), objective.bound_passes(SETTINGS.epochs * len(data))
    count = model.net.count
    assert (result.forwards, result.backwards) == (count.forwards - probed + bounds[0], count.backwards + bounds[1])


def test_a_run_moves_running_statistics_and_what_trains_and_nothing_else(objective, tools, data, validation, threat, surrogates):
    model = tools.make_model("noisy")
    model.net[0].bias.requires_grad_(False)
    trained = fit(model, data, validation, objective, SETTINGS, threat=threat, **surrogates).model
    moved = not torch.equal(trained.net[1].running_mean, model.net[1].running_mean)
    assert moved is (objective.kind != "sabr")  # which runs the model in evaluation mode only
    assert torch.equal(trained.net[0].bias, model.net[0].bias)
    assert not torch.equal(trained.net[0].weight, model.net[0].weight)
    assert [p.requires_grad for p in trained.parameters()] == [p.requires_grad for p in model.parameters()]
    assert not any(module.training for module in trained.modules())


def test_an_attack_of_unknown_cost_makes_the_cost_unknown():
    for name in ("pgd_at", "mart", "alp", "trades", "smoothadv", "ensemble_at"):
        assert OBJECTIVES.build({"kind": name, "attack": "apgd"}).passes(10) is None
    assert OBJECTIVES.build({"kind": "mixed", "attacks": ["pgd", "apgd"]}).passes(10) is None
    assert OBJECTIVES.build({"kind": "awp", "inner": {"kind": "pgd_at", "attack": "apgd"}}).passes(10) is None


@pytest.mark.parametrize("classes", [2, 4])
def test_the_loss_of_saturated_logits_is_finite(objective, classes, data, threat, tools):
    model = Classifier(nn.Linear(6, classes), classes)
    with torch.no_grad():
        model.net.weight.copy_(torch.linspace(1.0, -1.0, classes)[:, None].expand(classes, 6) * 1e4)
        model.net.bias.zero_()
    held = [model] if objective.kind == "ensemble_at" else []
    context, x, y = tools.batch(model, data, threat, surrogates=held)
    assert model(x).amax(1).min() > 1e4
    parts = objective.loss(context, x, y)
    finish(context, parts)
    assert parts.total.isfinite()
    assert model.net.weight.grad.isfinite().all()
    assert model.net.weight.isfinite().all()


def test_in_float64_and_in_bfloat16(objective, tools, data, threat):
    for model, settings in (
        (tools.make_model("noisy").double(), None),
        (tools.make_model("noisy"), TrainingSettings(precision="bfloat16", attack_precision="bfloat16")),
    ):
        context, x, y = batch(objective, model, data, threat, tools, settings=settings)
        parts = objective.loss(context, x, y)
        finish(context, parts)
        assert parts.total.isfinite()
        assert parts.total.dtype == model.dtype


class Killed(BaseException):
    """Like Ctrl-C: not an `Exception`."""


def test_resumed_it_ends_bit_equal(objective, tools, data, validation, threat, surrogates, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 3})

    def run(checkpoint=None, until=None):
        def listener(event):
            if event.done == until:
                raise Killed

        options = {"threat": threat, "checkpoint": checkpoint, "listener": listener, **surrogates}
        return fit(tools.make_model("noisy"), data, validation, objective, settings, **options)

    whole, file = run(), tmp_path / "checkpoint"
    with pytest.raises(Killed):
        run(file, until=2)
    resumed = run(file)
    assert tools.same(tools.weights(whole.model), tools.weights(resumed.model))
    assert whole.history == resumed.history
    assert (whole.forwards, whole.backwards) == (resumed.forwards, resumed.backwards)


def test_a_seed_decides_every_bit_and_the_global_stream_nothing(objective, tools, data, validation, threat, surrogates):
    def run(seed, outside):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        result = fit(tools.make_model("noisy"), data, validation, objective, SETTINGS, threat=threat, seed=seed, **surrogates)
        assert torch.equal(before, torch.get_rng_state())
        return tools.weights(result.model), result.history

    with torch.random.fork_rng():
        (first, history), (again, history_again), (other, _) = run(0, 1), run(0, 2), run(1, 1)
    assert tools.same(first, again)
    assert history == history_again
    assert not tools.same(first, other)


def test_it_learns(objective, tools, data, validation, threat, surrogates):
    settings = TrainingSettings(epochs=12, batch_size=16, lr=1e-2, validation_attack=PGD(steps=2), validate_every=4)
    best = fit(tools.make_model(), data, validation, objective, settings, threat=threat, **surrogates).best
    assert best.clean >= 0.95
    assert best.robust >= 0.7


@pytest.fixture(scope="module")
def digits():
    """Half of the digits, and two models from standard training that an adversary fools on nearly all of them."""
    train, held = hold_out(load_data("digits", split="train"), 0.1, 0)
    train = train.subset(slice(0, 480))
    settings = TrainingSettings(epochs=20, batch_size=32, lr=3e-3, validation_attack=PGD(steps=2), validate_every=20)
    models = []
    for seed in range(2):
        start = build({"kind": "small_cnn", "width": 8}, train.shape, 10, seed=seed)
        models.append(fit(start, train, held, Standard(), settings).model)
    assert pgd_accuracy(models[0]) < FLOOR / 2
    return train, held, models


def pgd_accuracy(model):
    test = load_data("digits", split="test")
    return float(attack(PGD(steps=20), model, test.x, test.y, DIGITS_THREAT).robust.float().mean())


@pytest.mark.parametrize(("name", "options"), SMOKE)
def test_on_digits_it_hardens_a_trained_model(name, options, digits):
    train, held, (model, other) = digits
    settings = TrainingSettings(epochs=8, batch_size=32, lr=5e-3, validation_attack=PGD(steps=10), validate_every=8, guards=None)
    if name in ("mtl_ibp", "sabr"):
        settings = settings.model_copy(update={"ramp": Ramp(until=0.5)})
    objective = OBJECTIVES.get(name)(**options)
    hardened = fit(model, train, held, objective, settings, threat=DIGITS_THREAT, surrogates=(other,)).model
    assert pgd_accuracy(hardened) > FLOOR
