"""Noise augmentation: the noise is the one that was asked for."""

import torch

from martensite.attacks import PGD
from martensite.core.rng import streams
from martensite.training import TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import Gaussian


def test_the_noise_has_its_mean_and_its_deviation(tools):
    """60,000 draws: 5 standard errors of mean and deviation are 0.0051 and 0.0036; either fails once in 1.7 million seeds."""
    context = Context(tools.make_model(), None)
    context.begin_batch(streams(0, "test", 10_000))
    x = torch.full((10_000, 6), 0.5)
    noise = Gaussian(sigma=0.25).adversarials(context, x, torch.zeros(10_000)) - x
    assert noise.mean().abs() < 0.0051
    assert (noise.std() - 0.25).abs() < 0.0036
    assert noise.abs().max() > 0.9  # it is not cut at the box


def test_each_epoch_has_noise_of_its_own(tools):
    context, x = Context(tools.make_model(), None), torch.zeros(4, 6)
    drawn = []
    for epoch in range(2):
        context.begin_batch(streams(0, f"epoch/{epoch}", 4))
        drawn.append(Gaussian().adversarials(context, x, torch.zeros(4)))
    assert not torch.equal(*drawn)


def test_it_needs_no_adversary(tools, data, validation):
    settings = TrainingSettings(epochs=1, batch_size=32, validation_attack=PGD(steps=1))
    assert fit(tools.make_model(), data, validation, Gaussian(sigma=0.1), settings).best.robust is None
