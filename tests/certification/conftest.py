"""Classifiers whose smoothed probabilities are known in closed form."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from martensite.core.rng import generator
from martensite.models import Classifier


class Record(nn.Module):
    """A net that keeps the inputs it was shown."""

    def __init__(self, net):
        super().__init__()
        self.net, self.shown = net, []

    def forward(self, x):
        self.shown.append(x.clone())
        return self.net(x)


def linear(size=5, record=False, **options):
    """Two classes: logits (w.x + b, 0), w random, the boundary through the middle of the box."""
    w = torch.randn(size, generator=generator(7, "test/linear"), dtype=torch.float64).float()
    net = nn.Linear(size, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([w, torch.zeros(size)]))
        net.bias.copy_(torch.stack([-w.sum() / 2, torch.zeros(())]))
    return Classifier(Record(net) if record else net, 2, **options)


def true_radius(model, x):
    """(n,) float64 signed distance to the boundary: positive where class 0 wins."""
    net = model.net.net if isinstance(model.net, Record) else model.net
    w, b = net.weight[0].detach().double(), net.bias[0].detach().double()
    return (x.double() @ w + b) / w.norm()


def inputs(n, size=5, seed=0):
    return torch.rand(n, size, generator=generator(seed, "test/inputs"))


def at_distance(model, distances):
    """Inputs whose signed distances to the boundary are these."""
    w = model.net.weight[0].detach()
    return 0.5 + distances[:, None].float() * w / w.norm()


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(linear=linear, true_radius=true_radius, inputs=inputs, at_distance=at_distance)
