"""Losses against their formulas, written out in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from martensite.attacks.losses import LOSSES, ascend, ce, dlr, logit, margin
from martensite.core.errors import ConfigError


def rows(classes):
    """(5, K) logits without ties closer than 1e-3, and labels."""
    values = arrays(np.float64, (5, classes), elements=st.integers(-20_000, 20_000).map(lambda v: v / 1000))
    distinct = values.filter(lambda z: np.diff(np.sort(z, 1)).min() >= 1e-3)
    return st.tuples(distinct, st.lists(st.integers(0, classes - 1), min_size=5, max_size=5))


several = st.integers(3, 6).flatmap(rows)


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
            dlr: (max(others) - values[right]) / (first - third),  # eq. 6: -(z_y - max z_i) / (z_pi1 - z_pi3)
        }
        for loss, value in expected.items():
            assert loss(logits, labels)[row].item() == pytest.approx(value, rel=1e-9, abs=1e-9)


@settings(deadline=None, derandomize=True)
@given(several, st.floats(0.01, 100), st.floats(-50, 50))
def test_dlr_knows_neither_scale_nor_shift(case, scale, shift):
    logits, labels = torch.tensor(case[0]), torch.tensor(case[1])
    torch.testing.assert_close(dlr(logits * scale + shift, labels), dlr(logits, labels), rtol=1e-6, atol=1e-6)


@settings(deadline=None, derandomize=True)
@given(several)
def test_the_sign_of_margin_and_dlr_is_the_verdict(case):
    logits, labels = torch.tensor(case[0]), torch.tensor(case[1])
    wrong = logits.argmax(1) != labels
    assert torch.equal(margin(logits, labels) > 0, wrong)
    assert torch.equal(dlr(logits, labels) > 0, wrong)


def test_dlr_wants_three_classes():
    with pytest.raises(ConfigError, match=r"dlr loss was asked for 2 classes.*'margin' or 'ce'"):
        dlr(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))


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
def test_a_targeted_attack_climbs_the_negated_loss(name):
    logits, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    assert torch.equal(ascend(name, labels, "untargeted")(logits), LOSSES[name](logits, labels))
    assert torch.equal(ascend(name, labels, "targeted")(logits), -LOSSES[name](logits, labels))
