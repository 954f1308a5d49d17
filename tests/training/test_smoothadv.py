"""SmoothAdv: the attack climbs the soft smoothed classifier, and training sees the same noise."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD, Oracle
from martensite.attacks.losses import ascend
from martensite.training.objectives import SmoothAdv
from martensite.training.objectives.smoothadv import SoftSmoothed

M, N = 3, 10


@pytest.fixture
def smoothed(tools, data):
    """A model in evaluation mode, a batch, noise (M, N, 6), and the smoothed oracle."""
    model = tools.make_model("counted").eval()
    noise = 0.3 * torch.randn(M, N, 6, generator=torch.Generator().manual_seed(0))
    return model, data.x[:N], data.y[:N], noise, SoftSmoothed(Oracle(model, until_broken=False), noise)


def test_the_logits_are_those_of_the_mean_probability(smoothed):
    model, x, _, noise, oracle = smoothed
    with torch.no_grad():
        mean = torch.stack([model(x + each).softmax(1) for each in noise]).mean(0)
    assert torch.allclose(oracle.logits(x).softmax(1), mean, atol=1e-6)
    assert torch.allclose(oracle.logits(x).exp().sum(1), torch.ones(N), atol=1e-5)
    assert torch.equal(oracle.labels(x), mean.argmax(1))


def test_the_gradient_is_autograds_of_the_soft_classifier(smoothed):
    model, x, y, noise, oracle = smoothed
    leaf = x.clone().requires_grad_(True)
    mean = torch.stack([model(leaf + each).softmax(1) for each in noise]).mean(0)
    (expected,) = torch.autograd.grad(nn.functional.nll_loss(mean.log(), y, reduction="sum"), leaf)
    logits, gradient = oracle.gradient(x, ascend("ce", y, "untargeted"))
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert torch.allclose(logits, mean.log().detach(), atol=1e-5)


def test_a_part_of_the_batch_keeps_its_own_noise(smoothed):
    _, x, y, _, oracle = smoothed
    rows = torch.tensor([7, 2, 4])
    whole_logits, whole = oracle.gradient(x, ascend("ce", y, "untargeted"))
    _, gradient = oracle.gradient(x[rows], ascend("ce", y[rows], "untargeted"), rows)
    assert torch.allclose(oracle.logits(x[rows], rows), whole_logits[rows], atol=1e-6)
    assert torch.allclose(gradient, whole[rows], atol=1e-6)
    oracle.places = rows
    assert torch.allclose(oracle.logits(x[rows].repeat(2, 1)), whole_logits[rows].repeat(2, 1), atol=1e-6)


def test_an_attack_that_changes_the_input_first_has_the_noise_added_after(smoothed):
    model, x, y, noise, oracle = smoothed
    leaf, half = x.clone().requires_grad_(True), torch.arange(float(N))[:, None] / N
    mean = torch.stack([model(half * leaf + each).softmax(1) for each in noise]).mean(0)
    (expected,) = torch.autograd.grad(nn.functional.nll_loss(mean.log(), y, reduction="sum"), leaf)
    _, gradient = oracle.gradient(x, ascend("ce", y, "untargeted"), through=lambda z: half * z)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_every_copy_counts(smoothed):
    model, x, y, _, oracle = smoothed
    oracle.gradient(x, ascend("ce", y, "untargeted"))
    oracle.logits(x)
    assert (oracle.forwards, oracle.backwards) == (2 * M * N, M * N)
    assert (model.net.count.forwards, model.net.count.backwards) == (2 * M * N, M * N)


def test_training_sees_the_noise_that_the_attack_saw(tools, data, threat, monkeypatch):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    noise, make = [], SoftSmoothed.__init__
    monkeypatch.setattr(SoftSmoothed, "__init__", lambda self, base, drawn: noise.append(drawn) or make(self, base, drawn))
    points = SmoothAdv(sigma=0.2, samples=M, attack=PGD(steps=2)).adversarials(context, x, y)
    centres = points.view(M, *x.shape) - noise[0]
    assert torch.allclose(centres, centres[0].expand_as(centres), atol=1e-6)
    assert threat.distance(x, centres[0]).max() <= threat.eps + 1e-6
    assert noise[0].std() == pytest.approx(0.2, rel=0.2)
    assert not torch.equal(noise[0][0], noise[0][1])


def test_the_attack_raises_the_loss_of_the_smoothed_classifier(tools, data, threat):
    model = tools.make_model()
    context, x, y = tools.batch(model, data, threat)
    objective = SmoothAdv(samples=8, sigma=0.2, attack=PGD(steps=10))
    points = objective.adversarials(context, x, y).view(8, *x.shape)
    noise = 0.2 * context.rng.fork("smoothadv").normal((8, 6)).transpose(0, 1)
    with torch.no_grad():
        hard, clean = (torch.stack([model(p) for p in group]).softmax(2).mean(0) for group in (points, x + noise))
    assert nn.functional.nll_loss(hard.log(), y) > nn.functional.nll_loss(clean.log(), y)
