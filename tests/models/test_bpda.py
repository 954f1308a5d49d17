"""BPDA: the stage's value, the surrogate's gradient; what looked robust falls."""

import pytest
import torch
from torch import nn

from martensite.attacks import FGSM, PGD, Oracle, attack
from martensite.attacks.losses import ascend
from martensite.core.errors import ModelError
from martensite.models import BPDA, Classifier, StraightThrough, with_bpda
from martensite.threat import ThreatModel


def quantise(x):
    return (x * 7).round() / 7


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
        net[2].weight.data -= net[2].weight.data.mean(0)
        net[2].bias.data -= net(torch.full((1, 12), 0.5))[0].detach()  # every class is somewhere
        return net


class Plain(nn.Module):
    def forward(self, x):
        return quantise(x)


@pytest.fixture
def x():
    return torch.rand(40, 12, generator=torch.Generator().manual_seed(1))


def test_a_quantised_input_hides_the_gradient_and_bpda_brings_it_back(net, x):
    masked = Classifier(nn.Sequential(Plain(), net), 3)
    opened = Classifier(nn.Sequential(BPDA(quantise), net), 3)
    with torch.no_grad():
        assert torch.equal(masked(x), opened(x))
        y = masked(x).argmax(1)
    loss = ascend("ce", y, "untargeted")
    assert not Oracle(masked).gradient(x, loss)[1].any()
    assert Oracle(opened).gradient(x, loss)[1].abs().sum(1).min() > 0
    threat = ThreatModel(eps=0.3)
    fooled = attack(PGD(steps=20, random_start=False), masked, x, y, threat)
    broken = attack(PGD(steps=20, random_start=False), opened, x, y, threat)
    assert not fooled.success.any()
    assert broken.success.float().mean() > 0.5
    with torch.no_grad():  # and the adversarials are the masked model's as well
        assert torch.equal(masked(broken.adversarial).argmax(1) != y, broken.success)


def test_the_gradient_is_the_network_s_at_the_quantised_point(net, x):
    leaf, point = x.clone().requires_grad_(), quantise(x).requires_grad_()
    net(BPDA(quantise)(leaf)).square().sum().backward()
    net(point).square().sum().backward()
    assert torch.equal(leaf.grad, point.grad)


def test_a_surrogate_s_slope_replaces_the_identity(x):
    leaf = x.clone().requires_grad_()
    out = BPDA(torch.sign, lambda z: torch.tanh(3 * z))(leaf)
    assert torch.equal(out, torch.sign(x))
    out.sum().backward()
    torch.testing.assert_close(leaf.grad, 3 * (1 - torch.tanh(3 * x) ** 2))


def test_a_stage_outside_torch_may_change_the_shape(x):
    def halve(z):
        return torch.from_numpy(z.numpy()[:, ::2].copy())

    leaf = x.clone().requires_grad_()
    out = BPDA(halve, lambda z: z.view(40, 6, 2).mean(2))(leaf)
    assert torch.equal(out, x[:, ::2])
    out.sum().backward()
    assert (leaf.grad == 0.5).all()
    with pytest.raises(ModelError, match=r"\(40, 6\).*\(40, 12\).*surrogate="):
        BPDA(halve)(leaf)


def test_a_stage_that_works_in_place_leaves_the_input_alone(x):
    before = x.clone()
    assert not BPDA(lambda z: z.mul_(0))(x).any()
    assert torch.equal(x, before)


def test_modules_belong_to_the_model_and_are_frozen_with_it(x):
    denoiser = nn.Sequential(nn.Linear(12, 12), nn.Dropout(0.5))
    model = Classifier(nn.Sequential(BPDA(denoiser), nn.Linear(12, 2)), 2).train()
    assert {"net.0.stage.0.weight", "net.0.stage.0.bias"} <= set(model.state_dict())
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    model.train()
    result = attack(FGSM(), model, x, y, ThreatModel(eps=0.1))
    assert result.correct.all()  # dropout was off
    assert denoiser[1].training
    assert denoiser[0].weight.grad is None


def test_straight_through_is_another_name():
    assert StraightThrough is BPDA


def test_any_submodule_can_be_opened_by_its_name(net, x):
    inner = nn.Sequential(Plain(), net)
    hidden = Classifier(nn.Sequential(inner, nn.Identity()), 3).train()
    inner[0].eval()
    opened = with_bpda(hidden, "net.0.0")
    with torch.no_grad():
        assert torch.equal(opened(x), hidden(x))
        y = hidden(x).argmax(1)
    threat = ThreatModel(eps=0.3)
    assert not attack(FGSM(), hidden, x, y, threat).success.any()
    assert attack(PGD(steps=20), opened, x, y, threat).success.float().mean() > 0.5
    # The first model is as it was, and the weights are the same objects.
    assert isinstance(hidden.net[0][0], Plain)
    assert all(a is b for a, b in zip(hidden.parameters(), opened.parameters(), strict=True))
    assert hidden.training
    assert not inner[0].training
    assert [module.training for module in opened.modules() if not isinstance(module, BPDA)][-1]


def test_a_surrogate_for_a_submodule(net, x):
    model = Classifier(nn.Sequential(Plain(), net), 3)
    leaf, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    with_bpda(model, "net.0", lambda z: 3 * z)(leaf).sum().backward()
    with_bpda(model, "net.0")(plain).sum().backward()
    torch.testing.assert_close(leaf.grad, 3 * plain.grad)


def test_an_unknown_submodule_is_named(net):
    with pytest.raises(ModelError, match=r"no submodule 'net.9'.*net\.0"):
        with_bpda(Classifier(nn.Sequential(Plain(), net), 3), "net.9")


def test_where_the_identity_points_the_wrong_way_a_surrogate_is_needed(net, x):
    def negative(z):
        return quantise(torch.from_numpy(1 - z.numpy()))

    threat = ThreatModel(eps=0.3)
    wrong, right = (Classifier(nn.Sequential(BPDA(negative, surrogate), net), 3) for surrogate in (None, lambda z: 1 - z))
    with torch.no_grad():
        y = right(x).argmax(1)
    method = PGD(steps=20, random_start=False)
    broken = [attack(method, model, x, y, threat).success.float().mean() for model in (wrong, right)]
    assert broken[0] < 0.1
    assert broken[1] > 0.5
