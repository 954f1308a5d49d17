"""The engine: what it refuses, whom it attacks, what it counts, and that no fault becomes robustness."""

from typing import ClassVar, Literal

import pytest
import torch
from torch import nn

from martensite.attacks import FAB, FGSM, PGD, Attack, Budget, HopSkipJump, Oracle, Square, attack
from martensite.attacks.ensemble import Ensemble
from martensite.core.errors import AccessError, BudgetError, ConfigError, DataError, ModelError, ThreatError
from martensite.models import Access, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)
TARGETED = ThreatModel(eps=0.1, goal="targeted")


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


@pytest.fixture
def model():
    return Classifier(net(), 3)


@pytest.fixture
def x():
    return torch.rand(30, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y(model, x):
    """The model's own answers, but for samples 0, 7 and 29, which it gets wrong."""
    with torch.no_grad():
        y = model(x).argmax(1)
    y[[0, 7, 29]] = (y[[0, 7, 29]] + 1) % 3
    return y


class Counter:
    """Counts the samples that pass through a net in each direction."""

    def __init__(self, net):
        self.calls = self.forwards = self.backwards = 0
        net.register_forward_pre_hook(self._forward)

    def _forward(self, module, args):
        self.calls += 1
        self.forwards += len(args[0])
        if args[0].requires_grad:
            args[0].register_hook(self._backward)

    def _backward(self, gradient):
        self.backwards += len(gradient)


class Move(Attack):
    """Adds a constant, wherever that leads."""

    kind: Literal["move"] = "move"
    by: float = 0.0
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf", "l2", "l1", "l0")

    def perturb(self, oracle, x, y, threat, rng):
        return x + self.by


class Raises(Attack):
    """Fails on batches with a sample whose first feature is above a half."""

    kind: Literal["raises"] = "raises"
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf",)
    fault: ClassVar[BaseException] = RuntimeError("no luck")

    def perturb(self, oracle, x, y, threat, rng):
        if (x[:, 0] > 0.5).any():
            raise self.fault
        return x


# whom it attacks


def test_what_is_wrong_from_the_start_needs_no_attack(model, x, y):
    wrong = torch.tensor([0, 7, 29])
    asked = []

    class Watch(Move):
        def perturb(self, oracle, x, y, threat, rng):
            asked.append(x)
            return x

    result = attack(Watch(), model, x, y, THREAT, batch_size=8)
    assert (~result.correct).nonzero().flatten().tolist() == wrong.tolist()
    assert torch.equal(result.success, ~result.correct)
    assert torch.equal(result.adversarial, x)
    assert (result.distance == 0).all()
    assert torch.equal(result.robust, result.correct)
    assert torch.equal(torch.cat(asked), x[result.correct])


def test_all_wrong_from_the_start(model, x, y):
    counter = Counter(model.net)
    wrong = (model(x).argmax(1) + 1) % 3
    result = attack(PGD(), model, x, wrong, THREAT)
    assert result.success.all()
    assert not result.robust.any()
    assert (result.forwards, result.backwards, counter.backwards) == (30, 0, 0)


def test_success_is_misclassification_and_distance_its_price(model, x, y):
    result = attack(PGD(steps=10), model, x, y, ThreatModel(eps=0.15))
    with torch.no_grad():
        assert torch.equal(model(result.adversarial).argmax(1) != y, result.success)
    assert 3 < result.success.sum() < 30
    torch.testing.assert_close(result.distance, (result.adversarial - x).abs().amax(1))
    assert not result.error.any()
    assert result.seconds > 0
    assert result.adversarial.dtype == result.distance.dtype == torch.float32
    assert result.success.dtype == result.correct.dtype == result.error.dtype == torch.bool


# targets


def test_targets(model, x, y):
    with torch.no_grad():
        predicted = model(x).argmax(1)
    target = (y + 1) % 3
    result = attack(PGD(steps=20), model, x, y, ThreatModel(eps=0.3, goal="targeted"), target=target)
    with torch.no_grad():
        assert torch.equal(model(result.adversarial).argmax(1) == target, result.success)
    assert 3 < result.success.sum() < 30
    there = predicted == target  # samples 0, 7 and 29, by their labels' making
    assert there.sum() == 0 or result.success[there].all()
    assert torch.equal(result.robust, result.correct & ~result.success)


def test_a_target_reached_from_the_start_is_a_success_at_no_distance(model, x, y):
    with torch.no_grad():
        target = model(x).argmax(1)
    wrong = (target + 1) % 3  # the model is wrong about every sample, and where the attacker wants it
    result = attack(PGD(), model, x, wrong, TARGETED, target=target)
    assert result.success.all()
    assert (result.distance == 0).all()
    assert result.backwards == 0


def test_wrong_from_the_start_is_not_robust_even_if_the_target_is_not_reached(x):
    layer = nn.Linear(6, 3)
    layer.weight.data.zero_()
    layer.bias.data = torch.tensor([1.0, 0.0, 0.0])
    y, target = torch.ones(30).long(), torch.full((30,), 2)
    result = attack(PGD(steps=1), Classifier(layer, 3), x, y, TARGETED, target=target)
    assert not result.success.any()
    assert not result.robust.any()


def test_targets_that_make_no_sense(model, x, y):
    with pytest.raises(ThreatError, match="goal is untargeted"):
        attack(PGD(), model, x, y, THREAT, target=(y + 1) % 3)
    with pytest.raises(ThreatError, match="no target= was given"):
        attack(PGD(), model, x, y, TARGETED)
    target = (y + 1) % 3
    target[4] = y[4]
    with pytest.raises(DataError, match="1 targets equal the label"):
        attack(PGD(), model, x, y, TARGETED, target=target)
    with pytest.raises(DataError, match=r"range over 0\.\.3|range over 1\.\.3"):
        attack(PGD(), model, x, y, TARGETED, target=y + 1)
    with pytest.raises(DataError, match="for 30 inputs"):
        attack(PGD(), model, x, y, TARGETED, target=y[:3])


def test_a_tie_is_no_success(x):
    # Class 1 comes level at feature 0.5 and never wins.
    class Level(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full_like(x[:, 0], 0.5), x[:, 0].clamp(max=0.5)], 1)

    y = torch.zeros(30).long()
    assert not attack(PGD(steps=20), Classifier(Level(), 2), x, y, ThreatModel(eps=0.5)).success.any()
    targeted = attack(PGD(steps=20), Classifier(Level(), 2), x, y, ThreatModel(eps=0.5, goal="targeted"), target=1 - y)
    assert not targeted.success.any()


# faults are error rows


@pytest.mark.parametrize("by", [0.11, -0.5, 2.0])
def test_a_point_outside_is_an_error_not_a_success(model, x, y, by):
    # Far enough out to be misclassified: that must not count.
    result = attack(Move(by=by), model, x, y, THREAT)
    attacked = result.correct
    assert torch.equal(result.error, attacked)
    assert not result.success[attacked].any()
    assert not result.robust.any()
    assert torch.equal(result.adversarial, x)
    assert (result.distance == 0).all()
    assert result.messages == ("move: 27 candidates were outside the ball or box and were rejected",)


def test_only_the_samples_that_left_the_box_are_errors(model, x, y):
    result = attack(Move(by=0.05), model, x, y, THREAT)
    out = (x + 0.05 > 1).any(1) & result.correct
    assert 0 < out.sum() < 27
    assert torch.equal(result.error, out)
    kept = result.correct & ~out
    assert torch.equal(result.adversarial[kept], (x + 0.05)[kept])


@pytest.mark.parametrize(
    "fault", [RuntimeError("no luck"), ValueError("no luck"), ModelError("no luck"), ZeroDivisionError("no luck")]
)
def test_a_batch_that_fails_is_error_rows(monkeypatch, model, x, y, fault):
    monkeypatch.setattr(Raises, "fault", fault)
    result = attack(Raises(), model, x, y, THREAT, batch_size=1)
    assert torch.equal(result.error, (x[:, 0] > 0.5) & result.correct)
    assert torch.equal(result.success, ~result.correct)
    assert torch.equal(result.robust, (x[:, 0] <= 0.5) & result.correct)
    assert len(result.messages) == 1
    assert "no luck" in result.messages[0]
    assert type(fault).__name__ in result.messages[0]


@pytest.mark.parametrize("fault", [ConfigError("x"), AccessError("x"), ThreatError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("batch_size", [1, 7, 125])
def test_what_is_not_about_samples_stops_the_run(monkeypatch, model, x, fault, batch_size):
    monkeypatch.setattr(Raises, "fault", fault)
    x = 0.51 + 0.4 * x
    with torch.no_grad():
        y = model(x).argmax(1)
    with pytest.raises(type(fault)):
        attack(Raises(), model, x, y, THREAT, batch_size=batch_size)


@pytest.mark.parametrize("fault", [ConfigError("x"), AccessError("x"), ThreatError("x"), BudgetError("x")])
@pytest.mark.parametrize("batch_size", [1, 7, 125])
@pytest.mark.parametrize("budget", [None, Budget(queries=50)])
def test_what_an_attack_refuses_of_some_samples_alone_is_error_rows(monkeypatch, model, x, y, fault, batch_size, budget):
    monkeypatch.setattr(Raises, "fault", fault)
    result = attack(Raises(), model, x, y, THREAT, batch_size=batch_size, budget=budget)
    assert torch.equal(result.error, (x[:, 0] > 0.5) & result.correct)
    assert result.messages == (f"raises: {type(fault).__name__}: x.",)


def test_a_budget_error_of_the_attack_s_own_leaves_nobody_robust(monkeypatch, model, x, y):
    monkeypatch.setattr(Raises, "fault", BudgetError("x"))
    result = attack(Raises(), model, 0.51 + 0.4 * x, y, THREAT)
    assert torch.equal(result.error, result.correct)
    assert not result.robust.any()


class NanBelow(nn.Module):
    """Fine on inputs above a tenth; NaN for samples with a feature below."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x) + torch.where((x < 0.1).any(1, keepdim=True), torch.nan, 0.0)


@pytest.mark.parametrize("method", [FGSM(), PGD(steps=5), PGD(steps=5, restarts=2)], ids=["fgsm", "pgd", "restarts"])
def test_a_model_that_breaks_down_under_attack_is_not_robust(x, method):
    model = Classifier(NanBelow(), 3)
    x = 0.11 + 0.8 * x
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(method, model, x, y, ThreatModel(eps=0.2))
    assert result.error.any()
    assert "NaN" in result.messages[0]
    assert result.success.any()  # the others are attacked all the same
    assert not (result.robust & result.error).any()
    assert not (result.success & result.error).any()


@pytest.mark.parametrize("shape", [(1, 6), (29, 6), (30, 5), (30, 6, 1)])
def test_points_of_another_shape_are_errors(model, x, y, shape):
    class Shape(Move):
        def perturb(self, oracle, x, y, threat, rng):
            return torch.full((len(x) if shape[0] == 30 else shape[0], *shape[1:]), 0.5)

    result = attack(Shape(), model, x, y, THREAT)
    assert torch.equal(result.error, result.correct)


def test_the_point_that_is_judged_is_the_point_that_is_returned(x):
    # In float64 this candidate is misclassified, and the float32 that would be stored is not.
    class Hair(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full_like(x[:, 0], 1e-12), x[:, 0].double() - 0.5], 1)

    class Finer(Move):
        def perturb(self, oracle, x, y, threat, rng):
            return x.double() + 1e-11

    x = torch.full((3, 2), 0.5)
    result = attack(Finer(), Classifier(Hair(), 2), x, torch.zeros(3).long(), THREAT)
    assert not result.success.any()
    assert torch.equal(result.adversarial, x)


# what it refuses


def test_bad_samples_are_refused(model, x, y):
    holed = x.clone()
    holed[3, 2] = float("nan")
    with pytest.raises(DataError, match="NaN or infinity in 1 of 30"):
        attack(PGD(), model, holed, y, THREAT)
    with pytest.raises(DataError, match="normalise inside, by mean= and std="):
        attack(PGD(), model, (x - 0.5) / 0.25, y, THREAT)
    with pytest.raises(DataError, match="n >= 1"):
        attack(PGD(), model, x[:0], y[:0], THREAT)
    with pytest.raises(DataError, match="with 3 classes"):
        attack(PGD(), model, x, y + 1, THREAT)
    with pytest.raises(DataError, match="for 30 inputs"):
        attack(PGD(), model, x, y[:-1], THREAT)
    with pytest.raises(DataError, match="labels are an integer tensor"):
        attack(PGD(), model, x, y.float(), THREAT)


def test_bad_runs_are_refused(model, x, y):
    for size in (0, -3):
        with pytest.raises(ConfigError, match="batch_size"):
            attack(PGD(), model, x, y, THREAT, batch_size=size)
    with pytest.raises(DataError, match="one index a sample"):
        attack(PGD(), model, x, y, THREAT, indices=torch.arange(31))
    with pytest.raises(ThreatError, match="further apart than"):
        attack(PGD(), model, x, y, ThreatModel(norm="l2", eps=2.5))
    with pytest.raises(ThreatError, match=r"box is \[-1.0, 1.0\] and the model's is \[0.0, 1.0\]"):
        attack(PGD(), model, x, y, ThreatModel(eps=0.1, box=(-1, 1)))


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (nn.Linear(6, 4), r"shape \(30, 4\) for 30 inputs"),
        (nn.Flatten(0), "one logit a class"),
        (nn.Softmax(0), "one logit a class"),
        (nn.LSTM(6, 3), "returns tuple"),
    ],
)
def test_a_wrong_output_is_refused_before_the_attack(x, y, faulty, message):
    with pytest.raises(ModelError, match=message):
        attack(PGD(), Classifier(faulty, 3), x, y, THREAT)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_is_refused(model, x, y, value):
    model.net[2].bias.data[1] = value
    with pytest.raises(ModelError, match="did the training diverge"):
        attack(PGD(), model, x, y, THREAT)


class BlackBox:
    """Satisfies `Model`, and counts its calls."""

    classes, box, device, dtype, access = 3, (0.0, 1.0), torch.device("cpu"), torch.float32, Access.SCORES

    def __init__(self):
        self.calls = 0
        self.net = net()

    def __call__(self, x):
        self.calls += 1
        with torch.no_grad():
            return self.net(x)


@pytest.mark.parametrize("method", [PGD(), FGSM()])
def test_a_black_box_is_refused_before_any_work(x, y, method):
    model = BlackBox()
    with pytest.raises(AccessError, match=r"needs gradients and this model grants scores"):
        attack(method, model, x, y, THREAT)
    assert model.calls == 0


def test_a_black_box_can_be_attacked_without_gradients(x, y):
    model = BlackBox()
    result = attack(Move(by=0.0), model, x, y, THREAT, batch_size=10)
    assert (model.calls, result.forwards, result.backwards) == (3 + 3, 30 + 27, 0)


# cost


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
@pytest.mark.parametrize("method", [FGSM(), PGD(steps=6, restarts=3)], ids=["fgsm", "pgd"])
def test_reported_passes_are_the_passes_made(model, x, y, method, batch_size):
    counter = Counter(model.net)
    result = attack(method, model, x, y, THREAT, batch_size=batch_size)
    assert (result.forwards, result.backwards) == (counter.forwards, counter.backwards)
    # What a sample costs is its clean pass and its search; the look that the engine itself takes at each candidate is besides.
    assert int(result.cost.sum()) == result.forwards - 27
    assert (result.cost[~result.correct] == 1).all()


def test_broken_samples_cost_less(model, x, y):
    gentle, harsh = (attack(PGD(steps=20), model, x, y, ThreatModel(eps=eps)) for eps in (0.01, 0.4))
    assert harsh.success.sum() > gentle.success.sum()
    assert harsh.forwards < gentle.forwards
    assert harsh.backwards < gentle.backwards


def test_events(model, x, y):
    events = []
    attack(FGSM(), model, x, y, THREAT, batch_size=10, listener=events.append)
    assert [(event.done, event.total, event.unit) for event in events] == [
        (10, 27, "sample"),
        (20, 27, "sample"),
        (27, 27, "sample"),
    ]


# independence


def test_samples_do_not_see_each_other():
    model = Classifier(net().double(), 3)
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(1)
    whole = attack(PGD(steps=10, restarts=2), model, x, y, THREAT)
    for i in (0, 13, 29):
        alone = attack(PGD(steps=10, restarts=2), model, x[i : i + 1], y[i : i + 1], THREAT, indices=torch.tensor([i]))
        torch.testing.assert_close(alone.adversarial, whole.adversarial[i : i + 1], rtol=0, atol=1e-9)
        assert alone.success == whole.success[i]
        assert alone.cost == whole.cost[i]


def test_an_index_names_the_stream(model, x, y):
    flat = nn.Linear(6, 3)
    flat.weight.data.zero_()  # the search stays where it starts
    same = x[:1].expand(4, 6)
    labels = flat.bias.argmax().expand(4)
    result = attack(PGD(), Classifier(flat, 3), same, labels, THREAT, indices=torch.tensor([5, 5, 6, 7]))
    first = result.adversarial
    assert torch.equal(first[0], first[1])
    assert len(first.unique(dim=0)) == 3


# types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float16, torch.float32, torch.float64])
def test_any_precision(dtype, given):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    model = Classifier(net, 3, mean=0.5, std=0.25)
    model.to(dtype)
    x = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(3)).to(given)
    with torch.no_grad():
        y = model(x.to(dtype)).argmax(1)
    result = attack(PGD(steps=5), model, x, y, THREAT)
    assert not result.error.any(), result.messages
    assert result.success.any()
    assert result.adversarial.dtype == (torch.float64 if given == torch.float64 else torch.float32)
    assert (result.adversarial.double() - x.double()).abs().max() <= 0.1 + 1e-6
    with torch.no_grad():
        assert torch.equal(model(result.adversarial.to(dtype)).argmax(1) != y, result.success)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_type(model, x, y, dtype):
    expected = attack(PGD(steps=3), model, x, y, THREAT)
    assert torch.equal(attack(PGD(steps=3), model, x, y.to(dtype), THREAT).adversarial, expected.adversarial)
    targeted = attack(PGD(steps=3), model, x, y.to(dtype), TARGETED, target=((y + 1) % 3).to(dtype))
    assert not targeted.error.any()


def test_the_callers_tensors_are_left_alone(x, y):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            x -= 0.5
            return self.net(x)

    given = x.clone().requires_grad_(), y.clone()
    result = attack(PGD(steps=3), Classifier(InPlace(), 3), *given, THREAT)
    assert torch.equal(given[0], x)
    assert torch.equal(given[1], y)
    assert given[0].grad is None
    assert not result.adversarial.requires_grad
    assert not result.error.any(), result.messages


def test_nothing_of_the_result_is_the_callers_memory(model, x, y):
    result = attack(Move(), model, x, y, THREAT)
    result.adversarial.zero_()
    assert x.abs().sum() > 0


def test_the_oracle_is_the_only_way_to_the_model(model):
    assert Oracle(model).model is model


def test_only_gradients_are_searched_for_in_bfloat16():
    model = Classifier(net(), 3)
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    for method, same in ((Square(queries=50), True), (HopSkipJump(queries=50), True), (PGD(steps=5, momentum=1.0), False)):
        threat = ThreatModel(norm="linf", eps=0.01)
        exact, half = (attack(method, model, x, y, threat, precision=kind) for kind in ("float32", "bfloat16"))
        assert torch.equal(exact.adversarial, half.adversarial) is same


def test_a_caller_in_inference_mode_gets_the_same_result():
    net = torch.nn.Linear(4, 3)
    model, x = Classifier(net, 3), torch.rand(16, 4, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    usual = attack(PGD(steps=5), model, x, y, ThreatModel(eps=0.2))
    with torch.inference_mode():
        inside = attack(PGD(steps=5), model, x + 0.0, y, ThreatModel(eps=0.2))
    assert not inside.error.any()
    assert torch.equal(usual.adversarial, inside.adversarial)


class Precisions(nn.Module):
    """Notes in which precision each pass is made."""

    def __init__(self):
        super().__init__()
        self.net, self.seen = net(), []

    def forward(self, x):
        out = self.net(x)
        self.seen.append(out.dtype)
        return out


def test_a_least_distance_is_searched_in_bfloat16_only_where_success_in_the_ball_is_what_counts():
    wrapped = Precisions()
    model, x = Classifier(wrapped, 3), torch.rand(30, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    wrapped.seen.clear()
    attack(FAB(steps=3), model, x, y, ThreatModel(eps=0.01), precision="bfloat16")
    assert set(wrapped.seen) == {torch.float32}
    wrapped.seen.clear()
    attack(Alone(), model, x, y, ThreatModel(eps=0.01), precision="bfloat16")
    assert torch.bfloat16 in wrapped.seen


class Alone(Ensemble):
    """An ensemble of one minimum-norm attack."""

    kind: Literal["alone"] = "alone"

    def members(self, threat, classes):
        yield FAB(steps=3)


class TrustsRoundedAnswers(Attack):
    """Looks for the nearest, takes bfloat16 at its word, and finds the way in float32 alone."""

    kind: Literal["trusts_rounded_answers"] = "trusts_rounded_answers"
    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar = ("linf",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle, x, y, threat, rng):
        logits, _ = oracle.gradient(x, lambda logits: logits[:, 0])
        exact = bool((logits != logits.bfloat16()).any())
        return x + (0.09 if exact else 1e-6)


class Trusting(Ensemble):
    """An ensemble of that."""

    kind: Literal["trusting"] = "trusting"

    def members(self, threat, classes):
        yield TrustsRoundedAnswers()


def test_what_a_search_for_the_nearest_wrongly_took_for_broken_in_bfloat16_is_searched_again_in_float32():
    """The class changes halfway along the float32 way, which the search in bfloat16 doesn't go."""
    linear = nn.Linear(1, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        linear.bias.copy_(torch.tensor([0.35001, -0.35001]))
    x = torch.full((8, 1), 0.3)
    result = attack(Trusting(), Classifier(linear, 2), x, torch.zeros(8, dtype=torch.int64), THREAT, precision="bfloat16")
    assert result.success.all()
    assert torch.allclose(result.distance, torch.tensor(0.09), atol=1e-6)
