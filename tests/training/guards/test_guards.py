"""Each guard as what it is: a function of figures."""

import pytest

from martensite.core.errors import ConfigError
from martensite.training.guards import (
    GUARDS,
    CatastrophicOverfitting,
    CleanFloor,
    Divergence,
    Figures,
    Guards,
    LabelLeaking,
    Remedy,
)


def seen(clean=0.9, single=0.7, robust=0.6, finite=True, chance=0.1):
    return Figures(100, 0.5, finite, clean, single, robust, chance)


@pytest.mark.parametrize("cls", list(GUARDS), ids=GUARDS.names())
def test_a_healthy_run_and_one_without_an_adversary_are_let_be(cls):
    guard = cls(floor=0.8) if cls is CleanFloor else cls()
    assert guard.complaint([seen()]) == ""
    assert guard.complaint([seen(single=None, robust=None)]) == ""
    assert GUARDS.build(guard.model_dump(mode="json")) == guard
    assert guard.remedy != Remedy()


@pytest.mark.parametrize(
    ("figures", "objects"),
    [
        (seen(0.95, 0.9, 0.0), True),
        (seen(0.95, 0.6, 0.2), True),
        (seen(0.95, 0.6, 0.31), False),  # many steps find more than one, and not that much
        (seen(0.99, 0.3, 0.0), False),  # a model without a defence falls to one step already
        (seen(0.12, 0.12, 0.0, chance=0.12), False),  # it has learnt nothing yet
        (seen(0.0, None, None, finite=False), False),
    ],
)
def test_catastrophic_overfitting(figures, objects):
    assert bool(CatastrophicOverfitting().complaint([figures])) == objects


def test_label_leaking():
    assert "label leaking" in LabelLeaking(margin=0.03).complaint([seen(0.9, 0.95, 0.6)])
    assert LabelLeaking(margin=0.06).complaint([seen(0.9, 0.95, 0.6)]) == ""


def test_divergence():
    guard = Divergence(patience=3, updates=0, margin=0.02)
    assert "diverged" in guard.complaint([seen(), seen(0.0, None, None, finite=False)])
    stuck = seen(0.11)
    assert guard.complaint([stuck, stuck]) == ""
    assert "at chance" in guard.complaint([seen(), stuck, stuck, stuck])
    assert guard.complaint([stuck, stuck, seen(0.5), stuck]) == ""


def test_clean_floor():
    guard = CleanFloor(floor=0.9, margin=0.02)
    assert guard.complaint([seen(0.89)]) == ""  # within the probe's margin
    assert "floor of 0.9" in guard.complaint([seen(0.87)])
    assert Guards(watch=(guard, CleanFloor(floor=0.8))).floor == 0.9
    assert Guards().floor == 0.0
    with pytest.raises(ConfigError, match="floor"):
        CleanFloor(floor=1.0)


def test_a_remedy_says_what_it_does():
    assert str(Remedy(level=1)) == "2 times the attack steps, each shorter by as much"
    assert str(Remedy(rate=0.5, gradalign=0.2)) == "a gradient alignment penalty of weight 0.2, the learning rate times 0.5"
    assert CatastrophicOverfitting(cure="gradalign", weight=0.3).remedy == Remedy(gradalign=0.3)
