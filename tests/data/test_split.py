"""Splits and orders: facts that hold for any labels, by hypothesis."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from martensite.core.errors import DataError
from martensite.data import Dataset
from martensite.data.split import hold_out, part, representative_order, stratified

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=150).map(torch.tensor)
FRACTIONS = st.sampled_from([(0.7, 0.1, 0.2), (0.2, 0.3, 0.5), (0.98, 0.01, 0.01), (0.9, 0.1), (0.4, 0.3, 0.2, 0.1)])


def counts(y: Tensor, index: Tensor) -> Tensor:
    return torch.bincount(y[index], minlength=7)


@given(LABELS, FRACTIONS, st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_parts_are_a_stratified_partition(y: Tensor, fractions: tuple[float, ...], seed: int) -> None:
    parts = stratified(y, fractions, seed)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(y)))
    assert all(bool((p.diff() > 0).all()) for p in parts)
    sizes = torch.bincount(y, minlength=7)
    enough = sizes >= len(fractions)
    for index in parts:
        assert bool((counts(y, index)[enough] >= 1).all())
    # The first part holds some of every class there is.
    assert bool((counts(y, parts[0])[sizes > 0] >= 1).all())
    for index, fraction in zip(parts[1:], fractions[1:], strict=True):
        quota = sizes * (round(len(y) * fraction) / len(y))
        # Never more than the share rounded up, or one.
        assert bool((counts(y, index) <= quota.double().ceil().clamp_min(1) + 1e-9).all())


@given(st.lists(st.integers(20, 60), min_size=2, max_size=7), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_common_classes_keep_their_share_and_parts_their_size(sizes: list[int], seed: int) -> None:
    y = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    parts = stratified(y, (0.7, 0.1, 0.2), seed)
    total = len(y)
    assert [len(p) for p in parts[1:]] == [round(total * 0.1), round(total * 0.2)]
    for index in parts:
        share = torch.tensor(sizes) * (len(index) / total)
        assert float((torch.bincount(y[index]) - share).abs().max()) < 2


@given(LABELS, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_every_beginning_of_the_order_holds_the_classes_in_proportion(y: Tensor, seed: int) -> None:
    order = representative_order(y, seed)
    assert torch.equal(order.sort().values, torch.arange(len(y)))
    sizes = torch.bincount(y, minlength=7)
    present = int((sizes > 0).sum())
    for m in range(1, len(y) + 1):
        off = counts(y, order[:m]) - sizes * (m / len(y))
        assert float(off.abs().max()) <= 1 + present / 2


def test_the_seed_decides_and_the_global_stream_is_untouched() -> None:
    y = torch.arange(300) % 3
    before = torch.get_rng_state()
    first, again, other = stratified(y, seed=1), stratified(y, seed=1), stratified(y, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[2], other[2])
    assert not torch.equal(representative_order(y, 1), representative_order(y, 2))


def test_a_known_split() -> None:
    # A change here changes every dataset's digest: it needs a reason and a line in the changelog.
    train, validation, test = stratified(torch.tensor([0] * 6 + [1] * 3))
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([0, 1, 2, 3, 8], [4, 7], [5, 6])


@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0), (math.nan, 0.5)])
def test_fractions_must_be_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="must add up to 1"):
        stratified(torch.arange(10), fractions)


def test_held_out_data_is_the_rest() -> None:
    data = Dataset(torch.rand(40, 2), torch.arange(40) % 4, 4, "some")
    kept, held = hold_out(data, 0.25, seed=3)
    assert (len(kept), len(held), kept.split, held.split, kept.name) == (30, 10, "train", "validation", "some")
    rows = {tuple(row) for row in torch.cat([kept.x, held.x]).tolist()}
    assert rows == {tuple(row) for row in data.x.tolist()}
    with pytest.raises(DataError, match="validation part of 1 samples is empty"):
        hold_out(data.subset(slice(0, 1)), 0.5)


def test_parts_by_name() -> None:
    data = Dataset(torch.rand(40, 2), torch.arange(40) % 4, 4)
    assert [len(part(data, name)) for name in ("train", "validation", "test", "all")] == [28, 4, 8, 40]
    with pytest.raises(DataError, match="did you mean 'validation'"):
        part(data, "val")
    with pytest.raises(DataError, match="did you mean 'train'"):
        part(data, "trian")
