"""`describe` and `Layers` are each other's inverse, and neither lets anything in that a description can't hold."""

import copy
import json
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from martensite.core.errors import ConfigError, ModelError
from martensite.models import ARCHITECTURES, Layers, describe
from martensite.models.layers import DEEPEST, LAYERS

SIGNAL, IMAGE = (4, 12), (4, 8, 8)
# Each layer as torch makes it, with arguments that are not the defaults, and the shape of an input that it takes.
CASES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(5, 3), (5,)),
    (nn.Linear(5, 3, bias=False), (2, 5)),
    (nn.Conv1d(4, 6, 3), SIGNAL),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False, padding_mode="reflect"), SIGNAL),
    (nn.Conv2d(4, 6, 3), IMAGE),
    (nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=False), IMAGE),
    (nn.Conv2d(4, 6, 3, padding="same", padding_mode="circular"), IMAGE),
    (nn.BatchNorm1d(4), SIGNAL),
    (nn.BatchNorm1d(4, eps=1e-3, momentum=None, affine=False), SIGNAL),
    (nn.BatchNorm2d(4), IMAGE),
    (nn.BatchNorm2d(4, eps=1e-3, momentum=0.3, track_running_stats=False), IMAGE),
    (nn.LayerNorm(12), SIGNAL),
    (nn.LayerNorm((8, 8), eps=1e-3, bias=False), IMAGE),
    (nn.LayerNorm((4, 8, 8), elementwise_affine=False), IMAGE),
    (nn.GroupNorm(2, 4), IMAGE),
    (nn.GroupNorm(4, 4, eps=1e-3, affine=False), SIGNAL),
    (nn.ReLU(), IMAGE),
    (nn.ReLU(inplace=True), IMAGE),
    (nn.ReLU6(inplace=True), IMAGE),
    (nn.LeakyReLU(0.2), IMAGE),
    (nn.GELU(), IMAGE),
    (nn.GELU(approximate="tanh"), IMAGE),
    (nn.SiLU(inplace=True), IMAGE),
    (nn.ELU(alpha=0.5), IMAGE),
    (nn.Tanh(), IMAGE),
    (nn.Sigmoid(), IMAGE),
    (nn.Softplus(beta=2.0, threshold=10.0), IMAGE),
    (nn.Flatten(), IMAGE),
    (nn.Flatten(2, 3), IMAGE),
    (nn.Unflatten(1, (2, 2)), IMAGE),
    (nn.Softmax(dim=1), IMAGE),
    (nn.LogSoftmax(dim=1), IMAGE),
    (nn.Dropout(0.3), IMAGE),
    (nn.Dropout2d(0.3), IMAGE),
    (nn.MaxPool1d(2, stride=1, padding=1), SIGNAL),
    (nn.MaxPool2d((2, 3), stride=2, padding=1, dilation=1, ceil_mode=True), IMAGE),
    (nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False), SIGNAL),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False, divisor_override=5), IMAGE),
    (nn.AdaptiveAvgPool1d(3), SIGNAL),
    (nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    (nn.AdaptiveAvgPool2d(1), IMAGE),
    (nn.Identity(), IMAGE),
]


def rebuilt(net: nn.Module) -> nn.Module:
    """Through JSON, as in a bundle, with the weights."""
    plan = describe(net)
    assert plan is not None
    document = json.loads(json.dumps(plan.model_dump(mode="json")))
    assert ARCHITECTURES.build(document).model_dump(mode="json") == document
    twin = ARCHITECTURES.build(document).module((), 2)
    twin.load_state_dict(net.state_dict())
    return twin


def plain_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    )


def test_every_layer_of_the_list_has_a_case() -> None:
    assert {type(layer).__name__ for layer, _ in CASES} == set(LAYERS)


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=lambda case: str(case).replace(" ", "")[:60])
def test_a_layer_goes_there_and_back(layer: nn.Module, shape: tuple[int, ...]) -> None:
    for p in layer.parameters():
        nn.init.normal_(p)
    twin = rebuilt(layer)
    assert type(twin) is type(layer)
    assert twin.extra_repr() == layer.extra_repr()
    x = torch.randn(3, *shape)
    torch.manual_seed(0)  # for the layers that drop
    expected = layer.train()(x.clone())
    torch.manual_seed(0)
    assert torch.equal(twin.train()(x.clone()), expected)
    assert torch.equal(twin.eval()(x.clone()), layer.eval()(x.clone()))


@pytest.mark.parametrize(
    "net",
    [
        plain_net(),
        nn.Sequential(nn.Linear(3, 2)),
        nn.Sequential(nn.Sequential(nn.Linear(3, 2)), nn.Sequential()),
        nn.Sequential(OrderedDict(body=nn.Sequential(OrderedDict(fc=nn.Linear(3, 4), act=nn.ReLU())), head=nn.Linear(4, 2))),
    ],
    ids=["plain", "one", "nested", "named"],
)
def test_nesting_and_names_are_kept(net: nn.Module) -> None:
    twin = rebuilt(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    assert str(twin) == str(net)


def test_copies_and_pickles_are_described_like_the_original() -> None:
    net = plain_net()
    assert describe(copy.deepcopy(net)) == describe(net) == describe(pickle.loads(pickle.dumps(net)))


def test_describing_leaves_the_network_and_the_global_stream_as_they_were() -> None:
    net = plain_net().train()
    net[1].eval()
    weights, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    describe(net)
    assert all(torch.equal(weights[name], tensor) for name, tensor in net.state_dict().items())
    assert [m.training for m in net] == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), state)


def hooked(net: nn.Sequential) -> None:
    net[1].register_forward_hook(lambda module, args, output: output + 1)


def hooked_outside(net: nn.Sequential) -> None:
    net.register_forward_pre_hook(lambda module, args: args)


def parametrised(net: nn.Sequential) -> None:
    parametrizations.weight_norm(net[0])


def patched(net: nn.Sequential) -> None:
    net[2].forward = lambda x: x * 2


def retuned(net: nn.Sequential) -> None:
    net[3][1].out_features = 11


def with_a_tensor_for_an_argument(net: nn.Sequential) -> None:
    net[2] = nn.ELU(alpha=torch.tensor(1.5))  # type: ignore[arg-type]


def decorated(net: nn.Sequential) -> None:
    net[0].note = torch.ones(2)


def with_a_foreign_layer(net: nn.Sequential) -> None:
    net[2] = nn.Bilinear(2, 2, 2)


def with_a_subclass(net: nn.Sequential) -> None:
    class ReLU(nn.ReLU):
        pass

    net[2] = ReLU()


def with_a_subclassed_container(net: nn.Sequential) -> None:
    class Sequential(nn.Sequential):
        pass

    net[3] = Sequential(*net[3])


def with_tied_weights(net: nn.Sequential) -> None:
    net.append(nn.Linear(10, 10))
    net.append(nn.Linear(10, 10))
    net[5].weight = net[4].weight


def with_a_layer_twice(net: nn.Sequential) -> None:
    layer = nn.Linear(10, 10)
    net.append(layer).append(layer)


def with_a_buffer_of_its_own(net: nn.Sequential) -> None:
    net.register_buffer("scale", torch.ones(1))


def resized(net: nn.Sequential) -> None:
    net[3][1].weight = nn.Parameter(torch.zeros(10, 255))


@pytest.mark.parametrize(
    "change",
    [
        hooked,
        hooked_outside,
        parametrised,
        patched,
        retuned,
        decorated,
        with_a_tensor_for_an_argument,
        with_a_foreign_layer,
        with_a_subclass,
        with_a_subclassed_container,
        with_tied_weights,
        with_a_layer_twice,
        with_a_buffer_of_its_own,
        resized,
    ],
)
def test_what_a_description_cannot_hold_is_not_described(change: Any) -> None:
    net = plain_net()
    assert describe(net) is not None
    change(net)
    assert describe(net) is None


def test_a_stateless_layer_may_stand_in_two_places() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 2), relu)
    x = torch.randn(4, 3)
    assert torch.equal(rebuilt(net)(x), net(x))


def test_lists_and_tuples_are_one() -> None:
    assert describe(nn.AdaptiveAvgPool2d([2, 3])) == describe(nn.AdaptiveAvgPool2d((2, 3)))  # type: ignore[arg-type]


def test_an_argument_changed_to_another_valid_one_is_described_as_it_is() -> None:
    net = plain_net()
    net[1].eps = 0.5
    assert rebuilt(net)[1].eps == 0.5  # type: ignore[index]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([{"kind": "Conv3d"}], "did you mean 'Conv2d'"),
        ([{"kind": "Module"}], "there is no layer 'Module'"),
        ([{"kind": "torch.nn.Linear"}], "there is no layer"),
        ([{"kind": ["ReLU"]}], "key 'kind' is needed"),
        ([{}], "key 'kind' is needed"),
        ([{"kind": "Linear", "in_feature": 3, "out_features": 2}], "did you mean 'in_features'"),
        ([{"kind": "Linear", "in_features": 3}], "out_features"),
        ([{"kind": "Linear", "in_features": 3, "out_features": 2, "device": "cuda"}], "no argument 'device'"),
        ([{"kind": "Linear", "in_features": -3, "out_features": 2}], "Linear refuses"),
        ([{"kind": "Linear", "in_features": 3.5, "out_features": 2}], "Linear refuses"),
        ([{"kind": "Tanh", "args": [1]}], "no arguments"),
        ([{"kind": "ReLU", "inplace": {"kind": "ReLU"}}], "is no finite number"),
        ([{"kind": "GroupNorm", "num_groups": 3, "num_channels": 4}], "divisible"),
        ([{"kind": "Sequential", "layers": [{"kind": "Relu"}]}], "did you mean 'ReLU'"),
        ([{"kind": "Sequential", "layer": []}], "a list of layers"),
        ([{"kind": "Sequential", "layers": ["ReLU"]}], "no layer"),
        ([{"kind": "ReLU", "name": "a.b"}, {"kind": "ReLU"}], "give another name"),
        ([{"kind": "ReLU", "name": "forward"}, {"kind": "ReLU"}], "give another name"),
        ([{"kind": "ReLU", "name": "1"}, {"kind": "ReLU"}], "two layers are named '1'"),
        ([{"kind": "ReLU", "name": 1}, {"kind": "ReLU"}], "give another name"),
    ],
)
def test_a_wrong_description_is_refused(layers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Layers(layers=layers)


def test_endless_nesting_is_refused() -> None:
    entry: dict[str, Any] = {"kind": "ReLU"}
    for _ in range(DEEPEST + 1):
        entry = {"kind": "Sequential", "layers": [entry]}
    with pytest.raises(ConfigError, match="nested more than"):
        Layers(layers=(entry,))


def test_a_description_of_a_giant_costs_nothing_until_it_is_built() -> None:
    plan = Layers(layers=({"kind": "Linear", "in_features": 10**7, "out_features": 10**7},))
    with pytest.raises(ModelError, match="can't take an input"):
        plan.module((3,), 10)


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [((64,), 10, "can't take"), ((1, 9, 9), 10, "can't take"), ((1, 8, 8), 11, r"return \(2, 10\)")],
)
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...], classes: int, message: str) -> None:
    plan = describe(plain_net())
    assert plan is not None
    with pytest.raises(ModelError, match=message):
        plan.module(shape, classes)
    assert plan.module((1, 8, 8), 10)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
