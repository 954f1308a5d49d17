"""What becomes of a model: the same function, or a refusal that names the layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from martensite.certification.bounds.lower import check_copy, lower
from martensite.core.errors import ModelError
from martensite.models import Classifier, build


class Functional(nn.Module):
    """Functions and methods in place of modules."""

    def __init__(self, step):
        super().__init__()
        self.layer, self.step = nn.Linear(8, 3), step

    def forward(self, x):
        return self.layer(self.step(x))


STEPS = {
    "flatten": lambda x: torch.flatten(F.avg_pool2d(x, 3), 1),
    "flatten method": lambda x: F.max_pool2d(x, 3).relu().flatten(1),
    "view": lambda x: F.adaptive_avg_pool2d(x, (2, 2)).view(x.size(0), -1),
    "reshape": lambda x: torch.sigmoid(F.avg_pool2d(x, kernel_size=3)).reshape(-1, 8),
    "view by shape": lambda x: F.leaky_relu(F.avg_pool2d(x, 3), negative_slope=0.3).view(x.shape[0], 8),
    "sum": lambda x: torch.add(F.avg_pool2d(x, 3), torch.tanh(F.max_pool2d(x, 3))).flatten(1),
    "in place": lambda x: F.relu(F.avg_pool2d(x, 3), inplace=True).flatten(start_dim=1),
}


def test_the_same_function(nets):
    for name in nets.names:
        for normalised in (True, False):
            model, x = nets.make(name, 1, normalised), nets.inputs(5, 1)
            assert torch.allclose(nets.graph(model).value(x).float(), model(x), atol=1e-4), name
            check_copy(nets.graph(model), model, x)


@pytest.mark.parametrize("name", STEPS)
def test_functions_and_methods(name, nets):
    model, x = Classifier(Functional(STEPS[name]), 3).eval(), nets.inputs(4, 1)
    assert torch.allclose(lower(model, (2, 6, 6)).value(x).float(), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("mlp", (1, 8, 8)), ("small_cnn", (1, 8, 8)), ("resnet18", (3, 16, 16)), ("preact_resnet18", (3, 16, 16))],
)
def test_our_architectures(architecture, shape):
    arguments = {"width": 4} if architecture != "mlp" else {}
    model = build({"kind": architecture, **arguments}, shape, 10).eval()
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lower(model, shape).value(x).float(), model(x), atol=1e-3)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ((nn.Flatten(), nn.Linear(72, 3), nn.GELU()), "GELU (2)"),
        ((nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(72, 3)), "GroupNorm (0)"),
        ((nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(18, 3)), "with ceil_mode"),
        ((nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.Flatten(), nn.Linear(32, 3)), "count_include_pad"),
        ((nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, 3)), "doesn't divide"),
        ((nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(108, 3)), "circular"),
        ((nn.Conv2d(2, 3, 2, padding="same"), nn.Flatten(), nn.Linear(108, 3)), "even kernel"),
        ((nn.Flatten(), nn.Linear(72, 3), nn.LeakyReLU(2.0)), "negative_slope 2"),
        ((nn.Linear(6, 3), nn.Flatten(), nn.Linear(36, 3)), "flatten them first"),
        ((nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(72, 3)), "running statistics"),
    ],
)
def test_unsupported_layers_are_refused_by_name(layers, named):
    with pytest.raises(ModelError) as caught:
        lower(Classifier(nn.Sequential(*layers), 3).eval(), (2, 6, 6))
    assert named in str(caught.value)
    assert "supported: AdaptiveAvgPool2d, AvgPool2d, BatchNorm1d" in str(caught.value)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (lambda x: (F.avg_pool2d(x, 3) * 2).flatten(1), "layer mul"),
        (lambda x: (F.avg_pool2d(x, 3) + 1.0).flatten(1), "layer add (of a tensor and a number)"),
        (lambda x: F.avg_pool2d(x, 3).softmax(1).flatten(1), "layer softmax"),
        (lambda x: F.avg_pool2d(x, 3).view(-1, 2, 4).view(8, -1), "layer view"),
        (lambda x: x.flatten(1)[:, :8], "layer getitem"),
        (lambda x: x.flatten(1) if x.sum() > 0 else x, "can't be traced"),
    ],
)
def test_unsupported_functions_too(step, named):
    with pytest.raises(ModelError) as caught:
        lower(Classifier(Functional(step), 3).eval(), (2, 6, 6))
    assert named in str(caught.value)


def test_what_tracing_does_not_see_is_noticed(nets):
    model, x = nets.make("relu", 1), nets.inputs(3, 1)
    model.net[1].register_forward_hook(lambda module, given, result: 2 * result)
    with pytest.raises(ModelError, match="take out hooks"):
        check_copy(nets.graph(model), model, x)
