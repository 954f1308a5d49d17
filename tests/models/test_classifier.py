"""The classifier: normalisation inside, conventions checked, outputs checked, flags left alone."""

import pytest
import torch
from torch import nn

from martensite.core.errors import ModelError
from martensite.models import Access, Classifier, Model, check_logits, probe


class Sums(nn.Module):
    """Logits that show what came in: the sum over each channel."""

    def forward(self, x):
        return x.flatten(2).sum(2) if x.dim() > 2 else x


def test_normalisation_is_inside_and_by_channel():
    x = torch.rand(4, 2, 3, 5)
    model = Classifier(Sums(), classes=2, mean=(0.25, 0.5), std=(0.5, 2.0))
    expected = torch.stack([((x[:, 0] - 0.25) / 0.5).sum((1, 2)), ((x[:, 1] - 0.5) / 2.0).sum((1, 2))], 1)
    torch.testing.assert_close(model(x), expected)


def test_one_value_normalises_every_channel():
    x = torch.rand(4, 3, 2, 2)
    for mean, std in [(0.5, 0.25), ((0.5,), (0.25,)), (torch.tensor([0.5]), [0.25])]:
        torch.testing.assert_close(Classifier(Sums(), 3, mean, std)(x), ((x - 0.5) / 0.25).sum((2, 3)))


def test_a_table_normalises_by_feature():
    x = torch.rand(4, 3)
    model = Classifier(nn.Identity(), 3, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    torch.testing.assert_close(model(x), (x - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([1.0, 2.0, 4.0]))


def test_half_of_a_normalisation():
    x = torch.rand(4, 3)
    torch.testing.assert_close(Classifier(nn.Identity(), 3, mean=0.5)(x), x - 0.5)
    torch.testing.assert_close(Classifier(nn.Identity(), 3, std=0.5)(x), x * 2)
    assert torch.equal(Classifier(nn.Identity(), 3)(x), x)


def test_gradients_are_in_input_units():
    x = torch.rand(2, 3, requires_grad=True)
    Classifier(nn.Identity(), 3, mean=0.5, std=0.25)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2, 3), 4.0))


@pytest.mark.parametrize("classes", [1, 0, -1, 2.0, "2", None])
def test_a_classifier_has_at_least_two_classes(classes):
    with pytest.raises(ModelError, match="classes is"):
        Classifier(nn.Identity(), classes)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (0.0, (1.0, 0.0)), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_normalisation_that_is_none(mean, std):
    with pytest.raises(ModelError, match="std positive"):
        Classifier(nn.Identity(), 2, mean, std)


@pytest.mark.parametrize("box", [(1, 0), (0, 0), (float("nan"), 1)])
def test_an_empty_box(box):
    with pytest.raises(ModelError, match="lower end must be below"):
        Classifier(nn.Identity(), 2, box=box)


def test_it_is_a_model():
    model = Classifier(nn.Linear(3, 2), 2, box=(-1, 1))
    assert isinstance(model, Model)
    assert (model.classes, model.box, model.access) == (2, (-1.0, 1.0), Access.GRADIENTS)
    assert Access.DECISIONS < Access.SCORES < Access.GRADIENTS


def test_dtype_and_device_are_the_parameters():
    model = Classifier(nn.Linear(3, 2), 2, mean=0.5, std=0.5)
    assert (model.dtype, model.device) == (torch.float32, torch.device("cpu"))
    for dtype in (torch.float64, torch.bfloat16):
        model.to(dtype)
        assert model.dtype == dtype
        assert model(torch.rand(4, 3, dtype=dtype)).dtype == dtype
    born_double = Classifier(nn.Linear(3, 2).double(), 2, mean=0.1, std=0.3)
    assert born_double.mean.item() == 0.1  # not float32's 0.1
    assert Classifier(nn.Flatten(), 2).dtype == torch.float32


def test_the_normalisation_is_no_weight():
    assert set(Classifier(nn.Linear(3, 2), 2, mean=0.5, std=0.5).state_dict()) == {"net.weight", "net.bias"}


# probe


def test_probe_answers_in_evaluation_mode_and_leaves_no_trace():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model = Classifier(net, 3).train()
    net[1].eval()
    net[3].weight.requires_grad_(False)
    flags = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(5, 4)
    logits = probe(model, x)
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in net[3].parameters()] == [False, True]
    torch.testing.assert_close(logits, model.eval()(x))


def test_probe_restores_flags_after_a_failure():
    model = Classifier(nn.Sequential(nn.Linear(4, 3), nn.Dropout()), 3).train()
    with pytest.raises(ModelError, match=r"can't take an input of shape \(5,\)"):
        probe(model, torch.rand(2, 5))
    assert all(module.training for module in model.modules())


def test_probe_brings_the_input_to_the_model():
    assert probe(Classifier(nn.Linear(4, 3).double(), 3), torch.rand(2, 4)).dtype == torch.float64


@pytest.mark.parametrize("fault", [RuntimeError("first line\nsecond"), ValueError(), IndexError("x"), TypeError("x")])
def test_probe_explains_a_module_that_fails(fault):
    class Faulty(nn.Module):
        def forward(self, x):
            raise fault

    with pytest.raises(ModelError, match="can't take an input") as caught:
        probe(Classifier(Faulty(), 2), torch.rand(2, 4))
    assert "second" not in str(caught.value)


# check_logits


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ((torch.zeros(2, 3),), "returns tuple"),
        (None, "returns NoneType"),
        (torch.zeros(2, 4), r"shape \(2, 4\) for 2 inputs. \(2, 3\) is needed"),
        (torch.zeros(3, 3), "for 2 inputs"),
        (torch.zeros(2), "one logit a class"),
        (torch.zeros(2, 3, 1), "one logit a class"),
        (torch.zeros(2, 3, dtype=torch.long), "torch.int64"),
        (torch.tensor([[0, float("nan"), 0], [0, 0, 0]]), "for 1 of 2 inputs"),
        (torch.full((2, 3), float("inf")), "for 2 of 2 inputs"),
    ],
)
def test_outputs_that_are_no_logits(logits, message):
    with pytest.raises(ModelError, match=message):
        check_logits(logits, 2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_of_any_precision_pass_unchanged(dtype):
    logits = torch.randn(2, 3).to(dtype)
    assert check_logits(logits, 2, 3) is logits
