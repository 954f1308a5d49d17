"""Square where the model is asked about squares alone: the same search as with whole passes, to the last query."""

import pytest
import torch
from torch import nn

from martensite.attacks import Square, attack
from martensite.attacks.oracle import Oracle
from martensite.models import Classifier
from martensite.threat import ThreatModel


@pytest.fixture
def scene():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 4, stride=2, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 4),
    )  # fmt: skip
    x = torch.rand(60, 2, 16, 16, dtype=torch.float64)
    net.double()(x)  # statistics for the normalisation
    model = Classifier(net, 4, mean=[0.4, 0.5], std=[0.3, 0.2]).double().eval()
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("eps", [0.03, 0.06])
@pytest.mark.parametrize("method", [Square(queries=400), Square(queries=400, hopeless=0.04)], ids=["paper", "gives up"])
def test_in_double_precision_it_is_the_same_search(monkeypatch, scene, method, eps):
    model, x, y = scene
    monkeypatch.setattr("martensite.models.windows.OVERHEAD", 0)  # the network is small
    asked, near = [], Oracle.near
    monkeypatch.setattr(
        Oracle, "near", lambda self, about, rows, *more: asked.append(len(rows)) or near(self, about, rows, *more)
    )
    ours = attack(method, model, x, y, ThreatModel(eps=eps), seed=1)
    monkeypatch.setattr("martensite.attacks.oracle.known", lambda *given: None)
    whole = attack(method, model, x, y, ThreatModel(eps=eps), seed=1)
    assert sum(asked) > 500
    assert torch.equal(ours.adversarial, whole.adversarial)
    assert torch.equal(ours.success, whole.success)
    assert 0 < int(ours.success.sum()) < len(x)
    assert torch.equal(ours.cost, whole.cost)
    assert (ours.forwards, ours.backwards) == (whole.forwards, whole.backwards)
    assert ours.discarded > whole.discarded  # the passes for activations are said
