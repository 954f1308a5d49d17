"""A linear model, whose robust accuracy has a closed form, and attacks that fail in every way."""

from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
import torch
from torch import nn

from martensite.attacks import Attack
from martensite.core.rng import generator
from martensite.data import Dataset
from martensite.models import Access, Classifier
from martensite.threat import ThreatModel

EPS = 0.1


class Raises(Attack):
    """Fails on inputs whose first feature is above a half; elsewhere it finds nothing."""

    kind: Literal["raises"] = "raises"
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf", "l2", "l1", "l0")

    def perturb(self, oracle, x, y, threat, rng):
        if (x[:, 0] > 0.5).any():
            raise RuntimeError("a feature above a half")
        return x


class Outside(Attack):
    """Cheats: returns points far outside the ball."""

    kind: Literal["outside"] = "outside"
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf", "l2", "l1", "l0")

    def perturb(self, oracle, x, y, threat, rng):
        return 1 - x


class Nothing(Raises):
    """Tries nothing at all."""

    kind: Literal["nothing"] = "nothing"

    def perturb(self, oracle, x, y, threat, rng):
        return x


def linear_model(size=6):
    net = nn.Linear(size, 2)
    with torch.no_grad():
        net.weight.copy_(torch.randn(2, size, generator=generator(3, "test/linear")))
        net.bias.copy_(torch.tensor([0.05, 0.0]) - net.weight.sum(1) / 2)
    return Classifier(net, 2)


def margins(model, data):
    """(n,) float64: the Linf eps that breaks each sample, the right logit's lead over the L1 norm of the weights' difference."""
    w, b = model.net.weight.detach().double(), model.net.bias.detach().double()
    ahead = data.x.double() @ (w[0] - w[1]) + (b[0] - b[1])
    return torch.where(data.y == 0, ahead, -ahead) / (w[0] - w[1]).abs().sum()


def linear_data(model, n=120, size=6):
    """Inputs 2.5 eps away from the walls, one label in eight wrong, no margin next to a multiple of eps / 4."""
    x = 0.25 + 0.5 * torch.rand(4 * n, size, generator=generator(4, "test/inputs"))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[::8] = 1 - y[::8]
    steps = margins(model, Dataset(x, y, 2)) / (EPS / 4)
    keep = ((steps - steps.round()).abs() > 0.01).nonzero().squeeze(1)[:n]
    return Dataset(x[keep], y[keep], 2, name="linear", split="test")


@pytest.fixture(scope="session")
def attacks():
    return SimpleNamespace(Raises=Raises, Outside=Outside, Nothing=Nothing)


@pytest.fixture
def linear():
    return linear_model()


@pytest.fixture(scope="session")
def data():
    return linear_data(linear_model())


@pytest.fixture(scope="session")
def margin(data):
    return margins(linear_model(), data)


@pytest.fixture(scope="session")
def threat():
    return ThreatModel(eps=EPS)
