"""Windows: the logits are those of the model itself, whatever the layers, and nothing is kept of what is taken back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from martensite.models import Classifier, MadryCNN, PreActResNet18, SmallCNN, TradesCNN
from martensite.models.window_layers import opening
from martensite.models.windows import Known, known

SIZE = 14


@pytest.fixture(autouse=True)
def small_questions_are_worth_it(monkeypatch):
    monkeypatch.setattr("martensite.models.windows.OVERHEAD", 0)


POINTWISE = (nn.ReLU, nn.GELU, nn.Tanh, nn.Identity, nn.Dropout)


@st.composite
def networks(draw):
    """A sequence of convolutions, pooling and values changed one by one, then a linear layer, for (2, 14, 13)."""
    modules, channels = [], 2
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "conv", "max", "mean"]))
        kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        if kind == "conv":
            out, padding = draw(st.integers(1, 5)), draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
            modules.append(nn.Conv2d(channels, out, kernel, stride, padding, bias=draw(st.booleans())))
            channels = out
        elif kind == "max":
            modules.append(nn.MaxPool2d(kernel, stride, tuple(draw(st.integers(0, side // 2)) for side in kernel)))
        else:
            modules.append(nn.AvgPool2d(kernel, stride))
        modules += [draw(st.sampled_from(POINTWISE))()] if draw(st.booleans()) else []
        modules += [nn.BatchNorm2d(channels)] if draw(st.booleans()) else []
    return modules


@settings(max_examples=150, deadline=None)
@given(networks(), st.data())
def test_the_logits_are_the_models(modules, data):
    torch.manual_seed(data.draw(st.integers(0, 2**16)))
    x = torch.rand(5, 2, SIZE, SIZE - 1, dtype=torch.float64)
    body = nn.Sequential(*modules).double()
    try:
        width = body(x)[0].numel()  # in training mode: batch normalisation gets statistics
    except (RuntimeError, ValueError):
        return  # a kernel larger than what is left of the input, or a batch of single values
    if not any(isinstance(module, nn.Conv2d) for module in modules):
        return
    model = Classifier(nn.Sequential(body, nn.Flatten(), nn.Linear(width, 3)).double(), 3, mean=[0.2, 0.4], std=[0.5, 2.0]).eval()
    points, kept = x.clone(), Known(opening(model, (2, SIZE, SIZE - 1)), x)
    for _ in range(3):
        sides = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
        rows = torch.tensor(sorted(data.draw(st.sets(st.integers(0, 4), min_size=1))))
        windows = data.draw(st.integers(1, 2))
        free = torch.tensor([edge - side + 1 for edge, side in zip(x.shape[2:], sides, strict=True)])
        corner = (torch.rand(len(rows), windows, 2) * free).long()
        changed = points.clone()
        for row, corners in zip(rows.tolist(), corner.tolist(), strict=True):
            for top, left in corners:
                changed[row, :, top : top + sides[0], left : left + sides[1]] = torch.rand(2, *sides, dtype=torch.float64)
        values = torch.stack(
            [
                torch.stack([changed[row, :, top : top + sides[0], left : left + sides[1]] for top, left in corners])
                for row, corners in zip(rows.tolist(), corner.tolist(), strict=True)
            ]
        )  # of the second window where two overlap
        logits = kept.logits(rows, kept.places(corner, [sides] * windows), sides, values)
        torch.testing.assert_close(logits, model(changed[rows]).detach(), rtol=1e-9, atol=1e-9)
        refused = torch.rand(len(rows)) < 0.5
        kept.take_back(refused.nonzero().squeeze(1))
        points[rows[~refused]] = changed[rows[~refused]]
    fresh = Known(opening(model, (2, SIZE, SIZE - 1)), points)
    for ours, theirs in zip(kept.kept, fresh.kept, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [(SmallCNN(width=2), 3), (MadryCNN(), 4), (TradesCNN(width=2), 6)],
    ids=["small", "madry", "trades"],
)
def test_our_sequences_begin_with_such_layers(architecture, layers):
    model, x = Classifier(architecture.module((1, 28, 28), 10), 10).eval(), torch.rand(3, 1, 28, 28)
    found = opening(model, (1, 28, 28))
    assert len(found.layers) == layers
    assert Known(found, x).agrees(x, (2, 3))


def small():
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    return Classifier(net, 10).eval()


class Doubled(Classifier):
    def forward(self, x):
        return super().forward(2 * x)


class OddConvolution(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).flip(2)


def hooked():
    model = small()
    model.net[0].register_forward_hook(lambda module, given, out: out + 1)
    return model


def replaced(normalise=None, net=()):
    model = small()
    vars(model.net[0]).update(net)
    if normalise is not None:
        model.normalise = normalise
    return model


def of(*modules):
    return Classifier(nn.Sequential(*modules, nn.Flatten()), 10).eval()


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: Doubled(small().net, 10).eval(), id="a forward of its own"),
        pytest.param(lambda: of(OddConvolution(1, 2, 3)), id="a convolution of its own"),
        pytest.param(hooked, id="a hook"),
        pytest.param(lambda: small().train(), id="training mode"),
        pytest.param(lambda: of(nn.Conv2d(1, 2, 3, padding_mode="reflect", padding=1)), id="reflection"),
        pytest.param(lambda: of(nn.Conv2d(1, 2, 3, padding="same")), id="padding by name"),
        pytest.param(lambda: of(nn.Conv2d(1, 2, 3, dilation=2)), id="dilation"),
        pytest.param(lambda: of(nn.MaxPool2d(2), nn.Tanh()), id="pooling alone"),
        pytest.param(lambda: of(nn.Linear(28, 4)), id="no convolution"),
        pytest.param(lambda: lambda x: x, id="no module"),
        pytest.param(lambda: replaced(normalise=lambda x: x - 1), id="a normalisation put in its place"),
        pytest.param(lambda: replaced(net={"_conv_forward": lambda *given: None}), id="a convolution's inside put in its place"),
    ],
)
def test_whatever_else_is_asked_as_a_whole(model):
    model, x = model(), torch.rand(3, 1, 28, 28)
    assert opening(model, (1, 28, 28)) is None
    assert known(model, x, (1, 1)) is None


def test_a_hook_of_all_modules_is_a_hook():
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, out: None)
    try:
        assert opening(small(), (1, 28, 28)) is None
    finally:
        handle.remove()
    assert opening(small(), (1, 28, 28)) is not None


@pytest.mark.parametrize("size", [(2,), [2], [2, 2], (2, 2, 2)])
def test_a_pooling_with_its_size_said_oddly_is_of_the_rest(size):
    found = opening(Classifier(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(size)), 2).eval(), (1, 28, 28))
    assert (len(found.layers), len(found.rest)) == (1, 1)


def test_a_residual_network_is_asked_as_a_whole_though_it_begins_with_a_convolution():
    model = Classifier(PreActResNet18(width=4).module((1, 28, 28), 10), 10).eval()
    assert len(opening(model, (1, 28, 28)).layers) == 1
    assert known(model, torch.rand(50, 1, 28, 28), (1, 1)) is None


def test_what_comes_after_the_layers_may_be_anything():
    model, x = small(), torch.rand(3, 1, 28, 28)
    model.net[1].forward = torch.tanh
    model.net[4].register_forward_hook(lambda module, given, out: 2 * out)
    assert len(opening(model, (1, 28, 28)).layers[0].modules) == 1
    assert known(model, x, (1, 1)).agrees(x, (3, 3))


def test_windows_that_reach_too_much_or_take_too_much_memory_are_left_to_whole_passes(monkeypatch):
    model, x = small(), torch.rand(3, 1, 28, 28)
    assert known(model, x, (10, 10)) is not None
    assert known(model, x, (18, 18)) is None
    assert known(model, x[:0], (1, 1)) is None
    with monkeypatch.context() as change:
        change.setattr("martensite.models.windows.MOST_BYTES", 3 * 4 * (30 * 30 + 8 * 28 * 28) - 1)
        assert known(model, x, (1, 1)) is None
    monkeypatch.setattr("martensite.models.windows.MOST_READ", 3 * 4 * (5 * 5 * 9) - 1)  # a 3 x 3 window reaches 5 x 5
    assert known(model, x, (3, 3)) is None
    assert known(model, x, (2, 2)) is not None
    assert known(model, x, (2, 2), windows=2) is None
    monkeypatch.undo()
    assert known(small().bfloat16(), x.bfloat16(), (1, 1)) is None


def test_what_changes_nothing_is_answered_as_before():
    model, x = small(), torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        model.net[0].bias.fill_(-9.0)  # nothing passes the ReLU
    kept = Known(opening(model, (1, 28, 28)), x)
    before, rows = kept.answers.clone(), torch.arange(4)
    logits = kept.logits(rows, kept.places(torch.full((4, 1, 2), 9), [(3, 3)]), (3, 3), torch.rand(4, 1, 1, 3, 3))
    assert torch.equal(logits, before)
    assert torch.equal(kept.answers, before)


def test_so_is_what_a_question_costs_by_itself(monkeypatch):
    monkeypatch.undo()
    small_net, x = small(), torch.rand(40, 1, 28, 28)
    large = Classifier(SmallCNN(width=32).module((1, 28, 28), 10), 10).eval()
    assert known(small_net, x, (2, 2)) is None
    assert known(large, x, (2, 2)) is not None
    assert known(large, x[:2], (2, 2)) is None


def test_a_model_that_says_something_else_does_not_agree():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    model = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), Noisy(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)), 10).eval()
    x = torch.rand(3, 1, 28, 28)
    assert not known(model, x, (1, 1)).agrees(x, (1, 1))
    corrupted = known(small(), x, (1, 1))
    corrupted.kept[0][2, -3, 2] += 1.0  # beside a corner
    assert not corrupted.agrees(x, (1, 1))
