"""Ensemble adversarial training: whose adversarials they are, and that held models stay as they are."""

import pytest
import torch

from martensite.attacks import PGD
from martensite.core.errors import ConfigError
from martensite.core.rng import streams
from martensite.training.objectives import EnsembleAT

ATTACK = PGD(steps=3)


def test_without_surrogates_it_is_refused(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    with pytest.raises(ConfigError, match="surrogates="):
        EnsembleAT().loss(context, x, y)


@pytest.mark.parametrize(("own", "expected"), [(None, 1 / 3), (0.0, 0.0), (0.6, 0.6)])
def test_the_sources_are_drawn_by_their_shares(own, expected, tools, data, threat, monkeypatch):
    """3,000 batches: 4.5 standard deviations of each share are at most 0.041; that fails once in 30,000 seeds."""
    held = [tools.make_model(seed=1), tools.make_model(seed=2)]
    context, x, y = tools.batch(tools.make_model(), data, threat, surrogates=held)
    sources = []
    monkeypatch.setattr(context, "attack", lambda method, x, y, model: sources.append(model) or x)
    for seed in range(3000):
        context.begin_batch(streams(seed, "test", 16))
        EnsembleAT(own=own).adversarials(context, x, y)
    shares = [sum(source is model for source in sources) / 3000 for model in (None, *held)]
    for share, wanted in zip(shares, (expected, *[(1 - expected) / 2] * 2), strict=True):
        assert abs(share - wanted) < 0.041


def test_the_adversarials_are_the_surrogates_and_it_stays_as_it_is(tools, data, threat):
    held = tools.make_model("noisy", seed=1).train()
    before = tools.weights(held)
    context, x, y = tools.batch(tools.make_model(), data, threat, surrogates=[held])
    found = EnsembleAT(attack=ATTACK, own=0.0).adversarials(context, x, y)
    other, *_ = tools.batch(held, data, threat)
    assert torch.equal(found, other.attack(ATTACK, x, y))
    assert held.training
    assert tools.same(before, tools.weights(held))
    EnsembleAT(attack=ATTACK, own=0.0).loss(context, x, y).total.backward()
    assert all(parameter.grad is None for parameter in held.parameters())
