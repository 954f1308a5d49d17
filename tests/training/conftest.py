"""Small problems and nets for the training tests."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from martensite.core.rng import generator, streams
from martensite.data import Dataset
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context


class Count:
    """Samples that went through a net; one object also for the copies that training makes of it."""

    def __init__(self):
        self.forwards = self.backwards = 0

    def __deepcopy__(self, memo):
        return self

    def back(self, gradient):
        self.backwards += len(gradient)


class Counted(nn.Module):
    """A net that counts forward and backward passes times samples."""

    def __init__(self, net):
        super().__init__()
        self.net, self.count = net, Count()
        self.register_forward_hook(_counting)

    def forward(self, x):
        return self.net(x)


def _counting(module, args, logits):
    module.count.forwards += len(args[0])
    if logits.requires_grad:
        logits.register_hook(module.count.back)


def make_data(n, seed, split="train"):
    """Two classes that the sum of the first two of six features tells apart, with a gap between them."""
    rng = generator(seed, "test/data")
    x = torch.rand(2 * n + 200, 6, generator=rng)
    total = x[:, 0] + x[:, 1]
    keep = ((total - 1).abs() > 0.25).nonzero().squeeze(1)[:n]
    assert len(keep) == n
    return Dataset(x[keep], (total[keep] > 1).long(), 2, split=split)


def make_model(kind="plain", seed=0):
    """``"plain"``: an MLP. ``"noisy"``: with batch normalisation and dropout. ``"counted"``: counts its passes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "noisy":
            net = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 2))
        else:
            net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
        return Classifier(Counted(net) if kind == "counted" else net, 2, mean=0.5, std=0.25)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    """Whether two state dicts are equal bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def batch(model, data, threat, n=16, surrogates=(), settings=None):
    """A context that has begun the batch of the first n samples, and the batch."""
    context = Context(model.train(), threat, settings, len(data))
    context.surrogates = tuple(surrogates)
    context.begin_batch(streams(0, "test", n))
    return context, data.x[:n].to(model.dtype), data.y[:n]


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(make_data=make_data, make_model=make_model, weights=weights, same=same, batch=batch)


@pytest.fixture(scope="session")
def data():
    return make_data(96, 1)


@pytest.fixture(scope="session")
def validation():
    return make_data(40, 2, "validation")


@pytest.fixture(scope="session")
def threat():
    return ThreatModel(eps=0.08)
