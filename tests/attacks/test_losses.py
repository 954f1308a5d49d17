"""Losses against their formulas, written out in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from martensite import attack
from martensite.attacks import APGD, PGD, APGDTargeted, Square, register_loss
from martensite.attacks.losses import LOSSES, REACHING, ascend, ce, dlr, dlr_reaching, dlr_towards, logit, margin, odds
from martensite.core.errors import ConfigError
from martensite.models import Classifier
from martensite.threat import ThreatModel


def rows(classes):
    """(5, K) logits without ties closer than 1e-3, and labels."""
    values = arrays(np.float64, (5, classes), elements=st.integers(-20_000, 20_000).map(lambda v: v / 1000))
    distinct = values.filter(lambda z: np.diff(np.sort(z, 1)).min() >= 1e-3)
    return st.tuples(distinct, st.lists(st.integers(0, classes - 1), min_size=5, max_size=5))


several, many = st.integers(3, 6).flatmap(rows), st.integers(4, 6).flatmap(rows)


@settings(deadline=None, derandomize=True)
@given(several)
def test_formulas(case):
    z, y = case
    logits, labels = torch.tensor(z), torch.tensor(y)
    for row, (values, right) in enumerate(zip(z, y, strict=True)):
        others = np.delete(values, right)
        first, _, third = np.sort(values)[::-1][:3]
        expected = {
            ce: math.log(sum(math.exp(v - values[right]) for v in values)),
            margin: max(others) - values[right],
            logit: -values[right],
        }
        if len(values) > 3:  # eq. 6: -(z_y - max z_i) / (z_pi1 - z_pi3)
            expected[dlr] = (max(others) - values[right]) / (first - third)
        for loss, value in expected.items():
            assert loss(logits, labels)[row].item() == pytest.approx(value, rel=1e-9, abs=1e-9)


@settings(deadline=None, derandomize=True)
@given(many, st.integers(1, 3))
def test_the_targeted_ratio(case, after):
    """Eq. 7: -(z_y - z_t) / (z_pi1 - (z_pi3 + z_pi4) / 2), towards whichever class."""
    logits, y = torch.tensor(case[0]), torch.tensor(case[1])
    target = (y + after) % logits.shape[1]
    for row, (values, right, aim) in enumerate(zip(case[0], y.tolist(), target.tolist(), strict=True)):
        first, _, third, fourth = np.sort(values)[::-1][:4]
        scale = first - (third + fourth) / 2
        assert dlr_towards(logits, y, target)[row].item() == pytest.approx((values[aim] - values[right]) / scale, rel=1e-9)
        strongest = max(np.delete(values, aim))
        assert dlr_reaching(logits, target)[row].item() == pytest.approx((values[aim] - strongest) / scale, rel=1e-9)


@settings(deadline=None, derandomize=True)
@given(many, st.floats(0.01, 100), st.floats(-50, 50))
def test_dlr_knows_neither_scale_nor_shift(case, scale, shift):
    logits, labels = torch.tensor(case[0]), torch.tensor(case[1])
    torch.testing.assert_close(dlr(logits * scale + shift, labels), dlr(logits, labels), rtol=1e-6, atol=1e-6)


@settings(deadline=None, derandomize=True)
@given(many)
def test_the_sign_of_margin_and_dlr_is_the_verdict(case):
    logits, labels = torch.tensor(case[0]), torch.tensor(case[1])
    wrong = logits.argmax(1) != labels
    assert torch.equal(margin(logits, labels) > 0, wrong)
    assert torch.equal(dlr(logits, labels) > 0, wrong)


@pytest.mark.parametrize("classes", [2, 3])
def test_of_few_classes_the_ratio_would_say_nothing(classes):
    logits, y = torch.randn(4, classes, generator=torch.Generator().manual_seed(0)), torch.zeros(4, dtype=torch.long)
    assert torch.equal(dlr(logits, y), odds(logits, y))
    assert torch.equal(dlr_reaching(logits, y), -odds(logits, y))
    assert torch.equal(dlr_towards(logits, y, y + 1), logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_whatever_the_targets_rank_its_ratio_has_a_slope_that_raises_it(classes):
    logits = torch.arange(float(classes), 0.0, -1.0).repeat(classes - 1, 1).requires_grad_()
    y, target = torch.zeros(classes - 1, dtype=torch.long), torch.arange(1, classes)
    for values in (dlr_towards(logits, y, target), dlr_reaching(logits, target)):
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert (gradient.gather(1, target[:, None]) > 0).all()


@pytest.mark.parametrize("method", [PGD(loss="dlr", random_start=False), APGD(loss="dlr"), APGDTargeted()], ids=lambda m: m.kind)
@pytest.mark.parametrize("classes", [3, 10])
def test_the_third_class_is_reached(method, classes):
    generator = torch.Generator().manual_seed(0)
    linear, x = nn.Linear(30, classes), 0.5 + 0.05 * torch.randn(20, 30, generator=generator)
    linear.weight.data, linear.bias.data = torch.randn(classes, 30, generator=generator) / 6, torch.zeros(classes)
    model, threat = Classifier(linear, classes), ThreatModel(eps=0.4, goal="targeted")
    ranked = model(x).topk(3).indices
    assert attack(method, model, x, ranked[:, 0], threat, target=ranked[:, 2]).success.all()


@pytest.mark.parametrize("method", [APGD(loss="dlr"), APGDTargeted()], ids=lambda m: m.kind)
def test_of_three_classes_the_one_that_can_be_reached_is_found(method):
    linear, x = nn.Linear(20, 3), torch.full((8, 20), 0.5)
    linear.weight.data, linear.bias.data = torch.zeros(3, 20), torch.tensor([2.0, 1.0, -11.0])
    linear.weight.data[2] = 1.0
    assert not attack(method, Classifier(linear, 3), x, torch.zeros(8, dtype=torch.long), ThreatModel(eps=0.2)).robust.any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [0.0, 1e4, 1e30])
def test_ties_and_huge_logits_give_finite_values_and_gradients(name, size):
    logits = torch.tensor([[size, size, size, 0.0], [0.0, -size, size, 0.0]], requires_grad=True)
    values = LOSSES[name](logits, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert values.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_the_derivatives(name):
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, labels), logits)


@pytest.mark.parametrize("name", LOSSES)
def test_a_targeted_attack_climbs_the_negated_loss_or_its_own(name):
    logits, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    assert torch.equal(ascend(name, labels, "untargeted")(logits), LOSSES[name](logits, labels))
    reaching = REACHING.get(name, lambda logits, y: -LOSSES[name](logits, y))
    assert torch.equal(ascend(name, labels, "targeted")(logits), reaching(logits, labels))


def test_apgd_climbs_a_loss_of_ones_own():
    """The way to a class that nothing else leads to: the last class's logit alone."""
    name = "only_the_last"
    register_loss(name, lambda logits, y: logits[:, -1])
    try:
        net = Classifier(nn.Linear(4, 4, bias=False), 4)
        with torch.no_grad():
            net.net.weight.copy_(torch.eye(4) + 0.2 * torch.ones(4, 4) * torch.arange(4)[:, None])
        x = torch.full((1, 4), 0.5)
        made = attack(APGD(loss=name, steps=20), net, x, torch.tensor([3]), ThreatModel(eps=0.1))
        ce = attack(APGD(steps=20), net, x, torch.tensor([3]), ThreatModel(eps=0.1))
        assert net(made.adversarial)[0, 3] >= net(x)[0, 3] >= net(ce.adversarial)[0, 3]
    finally:
        del LOSSES[name]


@pytest.mark.parametrize("kind", [PGD, APGD, Square])
def test_a_loss_may_write_into_its_logits(kind, monkeypatch):
    """Masking the label in place must not decide what the search takes for broken."""

    def pure(z, y):
        return z.scatter(1, y[:, None], -1e4).amax(1)

    def in_place(z, y):
        z[torch.arange(len(z)), y] = -1e4
        return z.amax(1)

    torch.manual_seed(0)
    model = Classifier(nn.Linear(12, 4), 4)
    x = torch.rand(30, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    found = []
    for loss in (pure, in_place):
        monkeypatch.setitem(LOSSES, "mine", loss)
        found.append(attack(kind(loss="mine"), model, x, y, ThreatModel(eps=0.1)))
    assert 0 < int(found[0].success.sum()) < 30
    assert torch.equal(found[0].adversarial, found[1].adversarial)


@pytest.mark.parametrize(("name", "loss"), [("", ce), ("mine", 3), ("mine", None)])
def test_a_loss_is_a_function_with_a_name(name, loss):
    with pytest.raises(ConfigError, match="a loss is a function"):
        register_loss(name, loss)
