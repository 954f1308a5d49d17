"""Diversified training: each attack gets its share of the batch, and nothing but that."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from martensite.attacks import FGSM, PGD
from martensite.core.errors import ConfigError
from martensite.core.rng import streams
from martensite.training.objectives import Mixed


@given(st.integers(1, 300), st.lists(st.floats(0.01, 100.0), min_size=1, max_size=5))
def test_the_parts_are_in_proportion_and_add_up(n, weights):
    parts = Mixed(attacks=[FGSM()] * len(weights), weights=weights)._parts(n)
    assert parts[0].start == 0
    assert parts[-1].stop == n
    assert all(one.stop == other.start for one, other in pairwise(parts))
    for part, weight in zip(parts, weights, strict=True):
        assert abs((part.stop - part.start) - n * weight / sum(weights)) <= 1.0 + 1e-6


def test_each_sample_meets_its_attack_with_its_own_randomness(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    found = Mixed(attacks=(PGD(steps=3), FGSM()), weights=(3, 1)).adversarials(context, x, y)
    context.begin_batch(streams(0, "test", 16))
    whole = context.attack(PGD(steps=3), x, y)
    assert torch.allclose(found[:12], whole[:12], atol=1e-6)
    assert torch.allclose(found[12:], context.attack(FGSM(), x, y)[12:], atol=1e-6)


def test_a_batch_too_small_for_all_attacks(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat, n=2)
    objective = Mixed(attacks=[PGD(steps=1)] * 5)
    assert objective.adversarials(context, x, y).shape == x.shape
    assert objective.search_passes(2) == (2, 2)


@pytest.mark.parametrize("wrong", [{"attacks": ()}, {"weights": (1.0,)}, {"weights": (1.0, 0.0)}])
def test_what_it_refuses(wrong):
    with pytest.raises(ConfigError):
        Mixed(**wrong)
