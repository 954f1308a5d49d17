import pytest
import torch
from torch import nn

from martensite.models import Classifier, build


@pytest.fixture
def model():
    return build("small_cnn", (1, 8, 8), 3, mean=0.3, std=0.5, seed=1)


@pytest.fixture
def plain():
    """A Classifier whose net no registered architecture built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(256, 3)
        )
        net(torch.rand(8, 1, 8, 8))  # running statistics that differ from a fresh layer's
    return Classifier(net, 3, shape=(1, 8, 8))


@pytest.fixture
def answers():
    """Logits in evaluation mode, on inputs that are always the same."""

    def call(model: Classifier) -> torch.Tensor:
        with torch.inference_mode():
            x = torch.rand(16, *(model.shape or (1, 8, 8)), generator=torch.Generator().manual_seed(5))
            return model.eval()(x.to(model.dtype))

    return call
