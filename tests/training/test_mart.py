"""MART's loss against its formula, in probabilities and with numpy."""

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from martensite.models import Classifier
from martensite.training.context import Context
from martensite.training.objectives import MART
from martensite.training.objectives.mart import doubt


def logits(n, classes, seed):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.0


def test_the_loss_is_the_formula_of_the_paper():
    n, classes, beta = 30, 5, 5.0
    clean, hard, y = logits(n, classes, 0), logits(n, classes, 1), torch.arange(n) % classes
    total = MART(beta=beta).measure(Context(Classifier(nn.Identity(), classes), None), clean, hard, y).total
    p, q, rows = softmax(clean.numpy(), axis=1), softmax(hard.numpy(), axis=1), np.arange(n)
    wrong = q.copy()
    wrong[rows, y] = -1.0
    bce = -np.log(q[rows, y]) - np.log(1.0 - wrong.max(1))
    divergence = (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(total, (bce + beta * divergence * (1.0 - p[rows, y])).mean(), rtol=1e-10)


def test_the_gradient_flows_through_the_weight_of_the_clean_prediction():
    clean, hard, y = logits(6, 3, 2).requires_grad_(True), logits(6, 3, 3), torch.arange(6) % 3
    context = Context(Classifier(nn.Identity(), 3), None)
    assert torch.autograd.gradcheck(lambda z: MART().measure(context, z, hard, y).total, clean)
    assert torch.autograd.gradcheck(lambda z: MART().measure(context, clean.detach(), z, y).total, hard.requires_grad_(True))


def test_what_is_left_beside_a_certain_wrong_class_is_no_zero():
    y = torch.tensor([0, 0])
    found = doubt(torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, -1e4]]), y)
    assert torch.allclose(found, torch.tensor([-1e4, 0.0]))


def test_with_two_classes_it_doubles_the_cross_entropy():
    hard, y = logits(10, 2, 4), torch.arange(10) % 2
    total = MART(beta=0.0).measure(Context(Classifier(nn.Identity(), 2), None), logits(10, 2, 5), hard, y).total
    assert torch.isclose(total, 2 * nn.functional.cross_entropy(hard, y))
