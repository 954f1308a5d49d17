"""Adversarial logit pairing against its formula."""

import torch
from torch import nn

from martensite.models import Classifier
from martensite.training.context import Context
from martensite.training.objectives import ALP


def test_the_loss_is_the_formula_of_the_paper():
    rng = torch.Generator().manual_seed(0)
    clean, hard = torch.randn(8, 3, generator=rng), torch.randn(8, 3, generator=rng)
    y = torch.arange(8) % 3
    parts = ALP(mix=0.25, weight=2.0).measure(Context(Classifier(nn.Identity(), 3), None), clean, hard, y)
    ce = [-(z[range(8), y] - z.exp().sum(1).log()).mean() for z in (clean, hard)]
    pairing = sum((a - b) ** 2 for a, b in zip(clean.flatten(), hard.flatten(), strict=True)) / 24
    assert torch.isclose(parts.total, 0.25 * ce[0] + 0.75 * ce[1] + 2.0 * pairing)
    assert torch.isclose(parts.parts["pairing"], pairing)
