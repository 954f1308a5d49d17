"""Learning rates: the shapes at points that can be computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from martensite.training import TrainingSettings
from martensite.training.schedules import share_of_peak

SHAPES = ("cyclic", "cosine", "multistep", "slow_fast", "constant")


def shape(schedule, *points, milestones=(0.5, 0.75), gamma=0.1, warmup=0.0):
    return [share_of_peak(schedule, done, milestones, gamma, warmup) for done in points]


def test_the_shapes():
    assert shape("cyclic", 0.0, 0.1, 0.2, 0.6, 1.0) == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert shape("cosine", 0.0, 1 / 3, 0.5, 1.0) == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert shape("multistep", 0.0, 0.49, 0.5, 0.74, 0.75, 1.0) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert shape("multistep", 0.2, 0.4, milestones=(0.3,), gamma=0.5) == [1.0, 0.5]
    assert shape("slow_fast", 0.0, 0.2, 0.4, 0.7, 1.0) == pytest.approx([0.0, 0.25, 1.0, 0.125, 0.0])
    assert shape("constant", 0.0, 0.5, 1.0) == [1.0, 1.0, 1.0]


def test_warm_up_rises_linearly_and_leaves_the_rest_alone():
    assert shape("constant", 0.0, 0.05, 0.1, 0.9, warmup=0.1) == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert shape("cosine", 0.5, warmup=0.1) == shape("cosine", 0.5)


@given(st.sampled_from(SHAPES), st.floats(0, 1), st.floats(0, 0.5))
def test_a_share_lies_between_nothing_and_the_peak(schedule, done, warmup):
    (share,) = shape(schedule, done, warmup=warmup)
    assert -1e-12 <= share <= 1.0 + 1e-12


def test_slow_fast_starts_slower_than_the_cycle_and_then_falls_faster():
    slow, cyclic = (shape(name, 0.05, 0.1, 0.8, 0.9) for name in ("slow_fast", "cyclic"))
    assert all(one < other for one, other in zip(slow, cyclic, strict=True))


def test_the_settings_scale_the_shape_by_the_peak():
    settings = TrainingSettings(lr=0.4, schedule="multistep", milestones=(0.5,), gamma=0.25, warmup=0.1)
    assert [settings.lr_at(done) for done in (0.05, 0.2, 0.6)] == pytest.approx([0.2, 0.4, 0.1])
