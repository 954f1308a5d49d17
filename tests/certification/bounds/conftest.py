"""Small random networks of every layer that bounds know, and points of balls to test them on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.lower import lower
from martensite.models import Classifier
from martensite.threat import ThreatModel

CLASSES = 4


class Residual(nn.Module):
    """Two shortcuts, one over a changed shape."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.side = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 1, 2)
        self.down, self.norm, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Linear(36, CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.relu(x + self.inner(x))
        return self.head(F.leaky_relu(self.norm(self.down(x)) + self.side(x), 0.2).view(x.shape[0], -1))


def dense(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 12), *layers, nn.Linear(12, CLASSES))


NETS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES)),
    "relu": lambda: dense(nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU()),
    "leaky": lambda: dense(nn.LeakyReLU(0.1), nn.Linear(12, 12), nn.LeakyReLU(0.3)),
    "tanh": lambda: dense(nn.Tanh(), nn.Linear(12, 12), nn.Tanh()),
    "sigmoid": lambda: dense(nn.Sigmoid(), nn.BatchNorm1d(12), nn.Linear(12, 12), nn.Sigmoid()),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 0)), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2, dilation=2, groups=2),
        nn.ReLU(), nn.Conv2d(6, 2, 3, padding="same", bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(4, CLASSES),
    ),
    "average": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Dropout(), nn.Flatten(), nn.Linear(12, CLASSES),
    ),
    "maximum": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Identity(), nn.Linear(4, CLASSES),
    ),
    "residual": Residual,
}  # fmt: skip


def make(name, seed, normalised=True):
    """A classifier of inputs (2, 6, 6) with random weights, biases and batch statistics, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NETS[name]()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.2, 2.0)
                nn.init.normal_(module.weight)
            elif isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.data.mul_(2.0)
        statistics = {"mean": (0.4, 0.6), "std": (0.5, 0.3)} if normalised else {}
        return Classifier(net, CLASSES, **statistics).eval().requires_grad_(False)


def inputs(n, seed, shape=(2, 6, 6)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *shape, generator=generator)
    return torch.where(torch.rand(n, *shape, generator=generator) < 0.2, x.round(), x)  # some on the border of the box


def region(x, norm, eps):
    """With any eps, also 0 and those that a threat model refuses."""
    return Region.of(x, ThreatModel(norm=norm, eps=0.5), torch.full((len(x),), eps, dtype=torch.float64))


def points(x, norm, eps, n, seed):
    """(n, *d) float64 points of the ball around one input (*d) and the box: random, corners, and single entries moved."""
    threat, generator = ThreatModel(norm=norm, eps=eps), torch.Generator().manual_seed(seed)
    spread = torch.randn(n, *x.shape, generator=generator, dtype=torch.float64)
    sparse = torch.rand(n, *x.shape, generator=generator) < torch.rand(n, *[1] * x.dim(), generator=generator).square()
    moved = torch.where(sparse, spread.sign(), spread * 0.3) * eps * 2
    center = x.double().expand(n, *x.shape)
    found = center + moved
    if norm == "linf":
        found = found.clamp(center - eps, center + eps)
    return threat.project(found.clamp(0.0, 1.0), center)


def graph(model):
    return lower(model, (2, 6, 6))


@pytest.fixture(scope="session")
def nets():
    return SimpleNamespace(
        names=tuple(NETS), make=make, inputs=inputs, region=region, points=points, graph=graph, classes=CLASSES, Residual=Residual
    )
