"""The gradient of two aims: what an attacker takes who wants a wrong answer that nobody notices."""

import pytest
import torch

from martensite.attacks import PGD
from martensite.defenses import Defence, Mahalanobis, conflict, defend
from martensite.defenses.conflict import Conflict
from martensite.evaluation.adaptive import assault
from martensite.threat import ThreatModel


def test_the_first_aim_goes_on_across_the_other():
    """By hand, f = (1, 1): across g, across f once fooled; as it is where there is no g, g agrees, or is just opposite."""
    x = torch.zeros(5, 2, requires_grad=True)
    both = Conflict(x)
    both.fooled = torch.tensor([False, True, False, False, False])
    f, g = torch.tensor([1.0, 1.0]), torch.tensor([[0.0, -2.0], [0.0, -2.0], [0.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    ((both.answers * f).sum() + (both.alarms * g).sum()).backward()
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 0.0], [1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))


def test_the_parts_are_the_input_and_without_more_said_their_gradients_add_up():
    x = torch.rand(2, 3, requires_grad=True)
    both = Conflict(x)
    assert torch.equal(both.answers, x)
    assert torch.equal(both.alarms, x)
    (both.answers.sum() + 2 * both.alarms.sum()).backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 3.0))


@pytest.fixture(scope="module")
def watched(model, digits):
    return defend(model, Defence(detectors=(Mahalanobis(),), false_alarms=0.05), digits.held)


def gradient(of, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(of(x).sum(), x)[0].flatten(1)


def test_a_step_costs_neither_aim_what_the_other_gains(watched, digits):
    """Noisy inputs on which the alarm rings: those still right move across the alarm, those already wrong across the lead."""
    chance = torch.Generator().manual_seed(0)
    x = (digits.test.x + 0.35 * torch.randn(digits.test.x.shape, generator=chance)).clamp(0, 1)
    y = digits.test.y
    rings = watched.respond(x).flagged
    fooled = watched.respond(x).prediction != y
    assert min(int((rings & fooled).sum()), int((rings & ~fooled).sum())) > 5
    rows = torch.arange(len(y))

    def lead(z):
        wrong = z.clone()
        wrong[rows, y] = -torch.inf
        return z[rows, y] - wrong.amax(1)

    step = gradient(lambda z: -lead(watched.judged(z, y)), x)
    answer = gradient(lambda z: lead(watched.base(z)), x)
    alarm = gradient(lambda z: watched.panel.margin(watched.panel.scores(watched.panel.look(z))), x)

    def along(one, other):
        return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)).clamp_min(1e-12)

    assert along(step, alarm)[rings & ~fooled].max() < 1e-3
    assert along(step, answer)[rings & fooled].max() < 1e-3
    assert (along(step, answer)[rings & ~fooled] < 0).all()
    assert (along(step, alarm)[rings & fooled] < 0).all()


def test_it_breaks_no_fewer_than_the_sum_of_both(watched, digits, monkeypatch):
    x, y, threat = digits.test.x[:150], digits.test.y[:150], ThreatModel(norm="linf", eps=0.15)

    def broken():
        return int(assault(PGD(steps=20, loss="margin"), watched, x, y, threat, seed=0).success.sum())

    across = broken()
    monkeypatch.setattr(conflict._Fork, "backward", staticmethod(lambda ctx, f, g: (f + g, None)))
    assert across >= broken() > 75
