"""TRADES: the gradient of its loss, the maximum that its search reaches, and the arithmetic that holds at a saturated softmax."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import nn

from martensite.attacks import APGD, FGSM, PGD
from martensite.core.errors import ConfigError
from martensite.models import Classifier
from martensite.training.context import Context
from martensite.training.objectives import TRADES
from martensite.training.objectives.trades import kl


def logits(n, classes, seed, scale=3.0):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def test_the_divergence_is_that_of_the_probabilities():
    clean, hard = logits(20, 5, 0), logits(20, 5, 1)
    p, q = softmax(clean.numpy(), axis=1), softmax(hard.numpy(), axis=1)
    np.testing.assert_allclose(kl(clean, hard), rel_entr(p, q).sum(1), rtol=1e-10)


def test_the_divergence_of_saturated_logits_is_the_difference_of_the_logits():
    clean = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_(True)
    hard = torch.tensor([[-1e4, 1e4, 0.0]]).requires_grad_(True)
    divergence = kl(clean, hard)
    divergence.sum().backward()
    assert divergence.item() == pytest.approx(2e4)
    assert clean.grad.isfinite().all()
    assert torch.allclose(hard.grad, torch.tensor([[-1.0, 1.0, 0.0]]))


def test_the_gradient_is_the_one_derived_by_hand():
    """On the identity the inputs are the logits: dL/dz = (p - e_y + beta p (log p/q - KL)) / n, dL/dz' = beta (q - p) / n."""
    beta, n, classes = 6.0, 12, 4
    context = Context(Classifier(nn.Identity(), classes), None)
    clean, hard = logits(n, classes, 2).requires_grad_(True), logits(n, classes, 3).requires_grad_(True)
    y = torch.arange(n) % classes
    parts = TRADES(beta=beta).measure(context, clean, hard, y)
    parts.total.backward()
    p, q = softmax(clean.detach().numpy(), axis=1), softmax(hard.detach().numpy(), axis=1)
    ratio = np.log(p / q)
    divergence = (p * ratio).sum(1, keepdims=True)
    np.testing.assert_allclose(parts.total.item(), -np.log(p[np.arange(n), y]).mean() + beta * divergence.mean(), rtol=1e-10)
    np.testing.assert_allclose(clean.grad, (p - np.eye(classes)[y] + beta * p * (ratio - divergence)) / n, atol=1e-12)
    np.testing.assert_allclose(hard.grad, beta * (q - p) / n, atol=1e-12)


@pytest.mark.parametrize("attack", [PGD(steps=10), APGD(steps=10)])
def test_on_a_linear_model_the_search_ends_at_one_of_the_two_corners_where_the_divergence_peaks(attack, tools, threat):
    """With two classes it depends on the difference of the logits alone, and rises to both sides of the clean one."""
    model = Classifier(nn.Linear(6, 2), 2)
    with torch.no_grad():
        model.net.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 1.0, -1.0, 3.0], [-1.0, 1.0, 1.0, -0.5, 2.0, 1.0]]))
    context, x, y = tools.batch(model, tools.make_data(32, 4), threat, n=32)
    x = 0.1 + 0.8 * x  # away from the faces of the box
    found = TRADES(attack=attack).adversarials(context, x, y)
    corner = threat.eps * (model.net.weight[0] - model.net.weight[1]).sign().detach()
    up, down = ((found - x - sign * corner).abs().amax(1) < 1e-6 for sign in (1, -1))
    assert (up | down).all()
    assert up.any()
    assert down.any()


def test_the_clean_target_is_made_once_and_is_a_constant(tools, data, threat, monkeypatch):
    model, targets = tools.make_model("counted"), []
    context, x, y = tools.batch(model, data, threat)
    attack = Context.attack
    monkeypatch.setattr(Context, "attack", lambda self, method, x, y: targets.append(y) or attack(self, method, x, y))
    TRADES(attack=PGD(steps=3)).adversarials(context, x, y)
    with torch.no_grad():
        expected = model.eval()(x).softmax(1)
    assert (context.forwards, context.backwards) == (4 * len(x), 3 * len(x))
    assert not targets[0].requires_grad
    assert torch.allclose(targets[0], expected)


def test_beta_zero_is_standard_training(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    loss = TRADES(beta=0.0, attack=PGD(steps=1)).loss(context, x, y).total
    assert torch.isclose(loss, nn.functional.cross_entropy(context.model(x), y))


@pytest.mark.parametrize("attack", [PGD(random_start=False), PGD(loss="margin"), FGSM(), APGD(loss="dlr"), "square"])
def test_an_attack_that_cannot_climb_the_divergence_is_refused(attack):
    with pytest.raises(ConfigError, match="clean prediction"):
        TRADES(attack=attack)
