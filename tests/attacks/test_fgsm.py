"""FGSM against its formula: x' = clip(x + eps * sign(grad ce))."""

import pytest
import torch
from torch import nn

from martensite.attacks import FGSM, Oracle, attack
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.threat import ThreatModel


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), 3)


@pytest.fixture
def x():
    return torch.rand(20, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.7])
@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
def test_the_formula(model, x, eps, goal):
    y = torch.arange(20) % 3
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf), y, reduction="sum").backward()
    uphill = leaf.grad.sign() * (1 if goal == "untargeted" else -1)
    z = FGSM().perturb(Oracle(model), x, y, ThreatModel(eps=eps, goal=goal), streams(0, "s", 20))
    torch.testing.assert_close(z, (x + eps * uphill).clamp(0, 1), rtol=0, atol=1e-6)


def test_the_box_is_the_threat_models(x):
    layer = nn.Linear(6, 2)
    layer.weight.data = torch.tensor([[1.0] * 6, [-1.0] * 6])
    model = Classifier(layer, 2, box=(-1, 2))
    z = FGSM().perturb(Oracle(model), x, torch.ones(20).long(), ThreatModel(eps=1.5, box=(-1, 2)), streams(0, "s", 20))
    torch.testing.assert_close(z, (x + 1.5).clamp(max=2.0))


def test_the_cost_is_one_pass_each_way(model, x):
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(FGSM(), model, x, y, ThreatModel(eps=0.1), batch_size=7)
    assert (result.forwards, result.backwards) == (20 + 20 + 20, 20)  # clean, gradient, verdict


def test_a_zero_gradient_leaves_the_input(x):
    layer = nn.Linear(6, 2)
    layer.weight.data.zero_()
    z = FGSM().perturb(Oracle(Classifier(layer, 2)), x, torch.zeros(20).long(), ThreatModel(eps=0.1), streams(0, "s", 20))
    assert torch.equal(z, x)


def test_only_linf_and_known_losses(model):
    with pytest.raises(ThreatError, match="fgsm does not support l2"):
        FGSM().check(model, ThreatModel(norm="l2", eps=0.1))
    with pytest.raises(ConfigError, match="loss"):
        FGSM(loss="mse")
