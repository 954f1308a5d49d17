"""The oracle: right gradients, right counts, and nobody's tensor touched."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import Budget, Oracle
from martensite.attacks.budget import Ledger
from martensite.attacks.finite import mended
from martensite.attacks.losses import ascend
from martensite.core.errors import AccessError, BudgetError, ModelError
from martensite.models import Access, Classifier, undisturbed


def linear(dtype=torch.float32):
    torch.manual_seed(0)
    return Classifier(nn.Linear(4, 3).to(dtype), 3)


def test_gradients_are_each_samples_own():
    model, x, y = linear(torch.float64), torch.rand(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    logits, gradient = Oracle(model).gradient(x, ascend("ce", y, "untargeted"))
    weight = model.net.weight.detach()
    assert torch.equal(logits, model(x).detach())
    # d ce / d x = W^T (softmax - one-hot)
    torch.testing.assert_close(gradient, (logits.softmax(1) - torch.eye(3, dtype=torch.float64)[y]) @ weight)


def test_entries_that_are_no_numbers_are_mended_and_counted():
    class Root(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0].sqrt() - x[:, 1], (-x[:, 2]).exp() - (x[:, 3] * 0.0).sqrt()], 1)

    oracle = Oracle(Classifier(Root(), 2))
    x = torch.tensor([[0.0, 0.5, 0.0, 0.5], [0.25, 0.5, 0.0, 0.0], [0.0, 0.5, 0.5, 0.5]])
    # -1 / (2 sqrt x_0), 1, -exp(-x_2), NaN
    slopes = torch.tensor([[-1.0, 1.0, -1.0, 0.0], [-1.0, 1.0, -1.0, 0.0], [-1.0, 1.0, -math.exp(-0.5), 0.0]])
    _, gradient = oracle.gradient(x, lambda logits: logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(gradient, slopes)
    assert oracle.slopes.odd == 3
    _, gradients = oracle.jacobian(x, lambda logits: logits[:, 1:] - logits[:, :1])
    torch.testing.assert_close(next(gradients), slopes)
    assert oracle.slopes.odd == 6
    _, gradient = oracle.gradient(x[:1], lambda logits: logits[:, 0] - logits[:, 0].detach())
    assert gradient[0].tolist() == [1.0, -1.0, 0.0, 0.0]
    assert oracle.slopes.odd == 7
    large = torch.full((2, 4), 3e38)  # their sum overflows, and all is well
    assert torch.equal(mended(large)[0], large)
    assert mended(large)[1] == 0


def test_counts():
    oracle, x = Oracle(linear()), torch.rand(5, 4)
    oracle.logits(x)
    assert (oracle.forwards, oracle.backwards) == (5, 0)
    oracle.gradient(x[:3], ascend("ce", torch.tensor([0, 1, 2]), "untargeted"))
    assert (oracle.forwards, oracle.backwards) == (8, 3)


def test_nothing_returned_carries_a_graph():
    oracle, x = Oracle(linear()), torch.rand(2, 4, requires_grad=True)
    logits, gradient = oracle.gradient(x, ascend("ce", torch.tensor([0, 1]), "untargeted"))
    assert not any(tensor.requires_grad for tensor in (logits, gradient, oracle.logits(x)))
    assert x.grad is None
    with torch.no_grad():
        assert torch.equal(oracle.gradient(x, ascend("ce", torch.tensor([0, 1]), "untargeted"))[1], gradient)


def test_no_parameter_gets_a_gradient():
    model = linear()
    with undisturbed(model):
        Oracle(model).gradient(torch.rand(2, 4), ascend("ce", torch.tensor([0, 1]), "untargeted"))
    assert all(parameter.grad is None for parameter in model.parameters())


class BlackBox:
    """Satisfies `Model` and can't be differentiated."""

    classes, box, device, dtype = 2, (0.0, 1.0), torch.device("cpu"), torch.float32
    calls = 0

    def __init__(self, access):
        self.access = access

    def __call__(self, x):
        self.calls += 1
        return x[:, :2]


@pytest.mark.parametrize("access", [Access.SCORES, Access.DECISIONS])
def test_a_black_box_has_no_gradient(access):
    model = BlackBox(access)
    oracle = Oracle(model)
    with pytest.raises(AccessError, match="black box"):
        oracle.gradient(torch.rand(2, 2), lambda logits: logits[:, 0])
    assert model.calls == oracle.forwards == oracle.backwards == 0


def test_a_model_that_grants_decisions_gives_labels_and_no_scores():
    x = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    model = BlackBox(Access.DECISIONS)
    oracle = Oracle(model)
    with pytest.raises(AccessError, match="grants decisions"):
        oracle.logits(x)
    assert model.calls == oracle.forwards == 0
    for access in Access:
        oracle = Oracle(BlackBox(access))
        assert oracle.labels(x).tolist() == [1, 0]
        assert oracle.forwards == 2
    assert Oracle(BlackBox(Access.SCORES)).logits(x).shape == (2, 2)
    assert torch.equal(Oracle(model).ballot(x), x)


def test_questions_are_counted_sample_by_sample():
    oracle, x = Oracle(linear()), torch.rand(3, 4)
    oracle.begin(x)
    oracle.labels(x)
    oracle.labels(torch.cat([x, x]))  # two rounds
    oracle.labels(x[:2], torch.tensor([0, 2]))
    oracle.labels(torch.rand(5, 4), torch.tensor([1, 1, 2, 1, 1]))  # each point names its sample
    assert oracle.account.spent.tolist() == [4, 7, 5]
    assert oracle.forwards == 16


def test_a_budget_counts_a_sample_as_often_as_it_is_named():
    oracle, x = Oracle(linear(), ledger=Ledger(Budget(queries=3))), torch.rand(3, 4)
    oracle.begin(x)
    oracle.labels(x)
    with pytest.raises(BudgetError):
        oracle.labels(x, torch.tensor([1, 1, 1]))
    assert oracle.account.spent.tolist() == [1, 1, 1]
    assert oracle.forwards == 3


def test_groups_nest_and_leave_what_was_found_outside_as_it_was():
    oracle, x = Oracle(linear()), torch.rand(5, 4)
    oracle.begin(x)
    oracle.places, found = torch.tensor([1, 2, 3, 4]), oracle.found
    with oracle.among(torch.tensor([4, 2, 3])):
        oracle.labels(x[:3])
        oracle.places = torch.tensor([2, 0])
        with oracle.among(torch.tensor([1, 1, 2])):
            oracle.found = x[:3]
            oracle.labels(x[:3])  # of the samples 2, 2 and 3
            oracle.labels(x[:1], torch.tensor([0]))
        assert oracle.places.tolist() == [2, 0]
        oracle.labels(x[:2])
    assert oracle.account.spent.tolist() == [0, 0, 4, 3, 2]
    assert oracle.places.tolist() == [1, 2, 3, 4]
    assert oracle.found is found


def test_what_is_withdrawn_counts_no_more():
    oracle, x = Oracle(linear()), torch.rand(3, 4)
    oracle.begin(x)
    for _ in range(3):
        oracle.gradient(x, lambda logits: logits[:, 0])
    oracle.withdraw(torch.tensor([2, 0, 2]), torch.tensor([1, 2, 1]), torch.tensor([1, 1, 0]))
    assert oracle.account.spent.tolist() == [1, 3, 1]
    assert (oracle.forwards, oracle.backwards, oracle.discarded) == (5, 7, 6)


def test_a_pass_without_gradient_is_split_and_says_the_same():
    torch.manual_seed(0)
    model, x = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 5)).double(), 5), torch.rand(301, 784).double()
    sizes = []
    model.net.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    oracle = Oracle(model)
    logits = oracle.logits(x)
    assert sum(sizes) == oracle.forwards == 301
    assert max(sizes) <= 64 * torch.get_num_threads()
    torch.testing.assert_close(logits, model(x).detach())
    assert oracle.labels(x[:0]).shape == (0,)


class Views(nn.Module):
    """Refuses the channels last, as `view` does between a convolution and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3), nn.Linear(108, 4)

    def forward(self, x):
        return self.linear(self.conv(x).view(len(x), -1))


def test_a_layout_that_the_model_refuses_is_given_up():
    torch.manual_seed(0)
    model, x = Classifier(Views(), 4), torch.rand(5, 2, 8, 8)
    exact, fast = Oracle(model), Oracle(model, precision="bfloat16")
    for _ in range(2):
        logits, gradient = fast.gradient(x, lambda logits: logits[:, 0])
        torch.testing.assert_close(logits, exact.logits(x), atol=0.02, rtol=0.02)
        torch.testing.assert_close(gradient, exact.gradient(x, lambda logits: logits[:, 0])[1], atol=0.02, rtol=0.02)
        assert gradient.is_contiguous()
    assert fast.forwards == 10


class InPlace(nn.Module):
    def forward(self, x):
        x -= 0.5
        return torch.relu_(x)[:, :3]


def test_a_model_that_works_in_place_does_not_reach_the_caller():
    x = torch.rand(5, 4)
    before = x.clone()
    oracle = Oracle(Classifier(InPlace(), 3))
    expected = (before - 0.5).relu()[:, :3]
    assert torch.equal(oracle.logits(x), expected)
    logits, gradient = oracle.gradient(x, lambda logits: logits.sum(1))
    assert torch.equal(logits, expected)
    assert torch.equal(gradient[:, :3], (before[:, :3] > 0.5).float())
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_model_gets_its_precision_and_the_attack_keeps_its_own(dtype):
    model = linear(dtype)
    x = torch.rand(5, 4)
    logits, gradient = Oracle(model).gradient(x, ascend("ce", torch.tensor([0, 1, 2, 0, 1]), "untargeted"))
    assert gradient.dtype == torch.float32
    assert logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert Oracle(model).logits(x).dtype == logits.dtype


def test_confident_samples_keep_their_gradient_in_half_precision():
    # The cross-entropy's slope is e**-20 here: float16 would hold it for zero, and the model would pass for robust.
    model, y = linear(), torch.zeros(5).long()
    model.net.weight.data, model.net.bias.data = model.net.weight.data.half().float(), torch.tensor([20.0, 0.0, 0.0])
    x = torch.rand(5, 4).half().float()
    expected = Oracle(model).gradient(x, ascend("ce", y, "untargeted"))[1]
    assert 0 < expected.abs().max() < 6e-8
    gradient = Oracle(model.half()).gradient(x, ascend("ce", y, "untargeted"))[1]
    torch.testing.assert_close(gradient, expected, rtol=0.05, atol=1e-11)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(value):
    model = linear()
    model.net.bias.data[1] = value
    for ask in (lambda oracle, x: oracle.logits(x), lambda oracle, x: oracle.gradient(x, lambda logits: logits[:, 0])):
        with pytest.raises(ModelError, match="NaN or infinite logits for 5 of 5"):
            ask(Oracle(model), torch.rand(5, 4))


# undisturbed


def test_flags_come_back_as_they_were():
    model = Classifier(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)), 3)
    model.train()
    model.net[1].eval()
    model.net[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    needed = [parameter.requires_grad for parameter in model.parameters()]
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        with undisturbed(model):
            pass
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    with pytest.raises(KeyboardInterrupt), undisturbed(model):
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == needed


def test_recurrent_layers_are_kept_from_cudnn_which_has_no_backward_pass_for_them_in_evaluation_mode():
    before = torch.backends.cudnn.enabled
    plain, recurrent = Classifier(nn.Linear(4, 3), 3), Classifier(nn.GRU(4, 3), 3)
    with undisturbed(plain):
        assert torch.backends.cudnn.enabled is before
    with pytest.raises(KeyboardInterrupt), undisturbed(recurrent):
        _interrupted_without_cudnn()
    assert torch.backends.cudnn.enabled is before


def test_a_black_box_is_left_alone():
    model = BlackBox(Access.SCORES)
    with undisturbed(model):
        pass
    assert model.calls == 0


def _interrupted_without_cudnn():
    assert not torch.backends.cudnn.enabled
    raise KeyboardInterrupt
