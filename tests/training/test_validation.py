"""Held-out accuracy: how many samples it takes, and the guards' probe."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from martensite.attacks import PGD
from martensite.data import Dataset
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.guards import Guards, LabelLeaking
from martensite.training.ledger import Ledger
from martensite.training.validation import Probe, needed_samples, swapped


def test_the_textbook_numbers():
    assert needed_samples(0.05) == 385
    assert needed_samples(0.03) == 1068
    assert needed_samples(0.01) == 9604


@given(st.floats(0.002, 0.4))
def test_as_many_as_needed_and_no_more(margin):
    n = needed_samples(margin)
    assert 1.96 * 0.5 / math.sqrt(n) <= margin * 1.0001
    assert n == 1 or 1.9599 * 0.5 / math.sqrt(n - 1) >= margin * 0.9999


@pytest.fixture
def linear():
    """Right where the first of six features is above one half."""
    model = Classifier(torch.nn.Linear(6, 2), 2)
    with torch.no_grad():
        model.net.weight.zero_()
        model.net.weight[1, 0] = 10.0
        model.net.bias.copy_(torch.tensor([5.0, 0.0]))
    return model


def held(n=60):
    x = torch.full((n, 6), 0.5)
    x[:, 0] = torch.linspace(0.05, 0.95, n)
    return Dataset(x, (x[:, 0] > 0.5).long(), 2)


def test_the_probe_measures_what_a_linear_model_must_lose(linear):
    """A step of eps flips exactly the samples within eps of the boundary, and many steps do no more."""
    data, ledger = held(), Ledger()
    figures = Probe(data, Guards(samples=60, attack=PGD(steps=10)), ThreatModel(eps=0.2), 0).look(linear, ledger, 7, 0.25)
    kept = float(((data.x[:, 0] - 0.5).abs() > 0.2).float().mean())
    assert (figures.update, figures.loss, figures.finite) == (7, 0.25, True)
    found = (figures.clean, figures.single_step, figures.robust, figures.chance)
    assert found == pytest.approx((1.0, kept, kept, 0.5))


def test_the_probe_sees_a_model_that_gains_by_one_step(linear):
    """Its gradient is reversed, so that the step goes deeper into the right class: what is wrong by less than eps turns right."""

    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return -gradient

    class Leaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = linear.net

        def forward(self, x):
            return self.net(Reversed.apply(x - torch.tensor([0.15, 0, 0, 0, 0, 0])))

    data, ledger = held(), Ledger()
    model = Classifier(Leaking(), 2)
    figures = Probe(data, Guards(samples=60), ThreatModel(eps=0.1), 0).look(model, ledger, 7, 0.25)
    right = [float((((data.x[:, 0] - shift) > 0.5).long() == data.y).float().mean()) for shift in (0.15, 0.05)]
    assert right[0] + 0.03 < right[1]
    assert (figures.clean, figures.single_step) == pytest.approx(tuple(right))
    assert "label leaking" in LabelLeaking().complaint([figures])
    assert ledger.guards.forwards > 0
    assert ledger.update.forwards == ledger.validation.forwards == 0


def test_the_probe_is_fixed_and_stratified():
    one, other = (Probe(held(), Guards(samples=20), None, 3) for _ in range(2))
    assert torch.equal(one.x, other.x)
    assert torch.bincount(one.y).tolist() == [10, 10]
    assert not torch.equal(one.x, Probe(held(), Guards(samples=20), None, 4).x)


def test_without_an_adversary_or_in_another_norm_only_clean_accuracy(linear):
    for threat in (None, ThreatModel(norm="l0", eps=1.0)):
        figures = Probe(held(), Guards(), threat, 0).look(linear, Ledger(), 1, 0.1)
        assert (figures.clean, figures.single_step, figures.robust) == (1.0, None, None)


def test_logits_that_are_no_numbers_are_a_finding_and_not_an_error(linear):
    with torch.no_grad():
        linear.net.bias.fill_(torch.nan)
    figures = Probe(held(), Guards(), ThreatModel(eps=0.1), 0).look(linear, Ledger(), 1, 0.1)
    assert not figures.finite


def test_swapped_weights_come_back_also_after_an_error(linear):
    before = {name: tensor.clone() for name, tensor in linear.net.state_dict().items()}
    seen = []
    with pytest.raises(ZeroDivisionError), swapped(linear.net, {name: tensor + 1 for name, tensor in before.items()}):
        seen.append(linear.net.bias.detach().clone()) or 1 / 0
    assert torch.equal(seen[0], before["bias"] + 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in linear.net.state_dict().items())
