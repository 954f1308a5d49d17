"""fgsm_at, two_step and nfgsm: on a linear model each step is known exactly."""

import pytest
import torch
from torch import nn

from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.objectives import FGSMAT, NFGSM, TwoStep

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 1.0, -1.0, 3.0], [-1.0, 1.0, 1.0, -0.5, 2.0, 1.0]])


@pytest.fixture
def linear(tools, threat):
    """A context on a linear model, a batch, and the direction (n, 6) in which each sample's loss rises."""
    model = Classifier(nn.Linear(6, 2), 2)
    with torch.no_grad():
        model.net.weight.copy_(WEIGHT)
    context, x, y = tools.batch(model, tools.make_data(40, 4), threat, n=40)
    return context, x, y, (WEIGHT[1 - y] - WEIGHT[y]).sign()


@pytest.mark.parametrize("step", [0.5, 1.25])
def test_fgsm_at_is_one_projected_step_from_a_random_start(step, linear, threat):
    context, x, y, rise = linear
    start = threat.random_start(x, context.rng.fork("pgd"))
    assert (start - x).abs().amax() > 0.9 * threat.eps
    expected = (start + step * threat.eps * rise).clamp(x - threat.eps, x + threat.eps).clamp(0, 1)
    assert torch.allclose(FGSMAT(step=step).adversarials(context, x, y), expected, atol=1e-6)


def test_two_step_takes_two_of_them(linear, threat):
    context, x, y, rise = linear
    start = threat.random_start(x, context.rng.fork("pgd"))
    expected = (start + 2 * 0.4 * threat.eps * rise).clamp(x - threat.eps, x + threat.eps).clamp(0, 1)
    assert torch.allclose(TwoStep(step=0.4).adversarials(context, x, y), expected, atol=1e-6)


def test_two_step_reaches_the_worst_corner_from_anywhere(linear, threat):
    context, x, y, rise = linear
    assert torch.allclose(TwoStep().adversarials(context, x, y), (x + threat.eps * rise).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize(("k", "alpha"), [(2.0, 0.75), (2.0, 1.5)])
def test_nfgsm_steps_from_noise_and_clips_to_the_box_alone(k, alpha, linear, threat):
    context, x, y, rise = linear
    noisy = threat.at(k * threat.eps).random_start(x, context.rng.fork("nfgsm/noise"))
    found = NFGSM(k=k, alpha=alpha).adversarials(context, x, y)
    assert torch.allclose(found, (noisy + alpha * threat.eps * rise).clamp(0, 1), atol=1e-6)
    distance = threat.distance(x, found)
    assert distance.max() > 2 * threat.eps
    assert distance.max() <= (k + alpha) * threat.eps + 1e-6


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_nfgsm_in_other_norms(norm, linear):
    context, x, y, _ = linear
    eps = 0.2
    context._full_threat = context._threat = ThreatModel(norm=norm, eps=eps)
    distance = context.threat.distance(x, NFGSM().adversarials(context, x, y))
    assert (distance > eps).any()
    assert (distance <= 3 * eps + 1e-5).all()


def test_nfgsm_at_an_eps_whose_noise_exceeds_the_box(linear):
    context, x, y, _ = linear
    context._full_threat = context._threat = ThreatModel(eps=0.6)
    found = NFGSM().adversarials(context, x, y)
    assert found.min() >= 0
    assert found.max() <= 1
    assert NFGSM().balls(context.threat)[0].eps == 1.0
