"""Random streams: a draw belongs to a sample, and the draws are random.

Statistical tests use fixed seeds, so they never flicker; each refuses at p < 1e-4, so a right generator would fail one in ten
thousand such choices of seed.
"""

import hashlib
import random

import numpy as np
import pytest
import torch
from scipy import stats

from martensite.core.rng import Streams, derive, generator, streams

ALPHA = 1e-4
KINDS = {
    "bits": lambda rng, shape: rng.bits(shape),
    "uniform": lambda rng, shape: rng.uniform(shape, -1.0, 2.0),
    "normal": lambda rng, shape: rng.normal(shape),
    "sign": lambda rng, shape: rng.sign(shape),
    "integers": lambda rng, shape: rng.integers(7, shape),
}
each_kind = pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS.keys())


# the hash


GOLDEN = 0x9E3779B97F4A7C15


def finalised(z):
    """SplitMix64's hash of a 64-bit value, in Python's own integers."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def splitmix64(seed):
    """Steele, Lea and Flood's generator."""
    state = seed % 2**64
    while True:
        state = (state + GOLDEN) % 2**64
        yield finalised(state)


def seed_of(text):
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def test_keys_stay_what_they_are():
    # A report's seeds must draw the same in every later version: this is the format.
    assert derive(7, "train", 3) == seed_of(b"7/train/3")
    drawn = streams(7, "attack/pgd", torch.tensor([0, 1, 123456])).fork("restart", 2)
    keys = [finalised(finalised(i * GOLDEN % 2**64) ^ seed_of(b"7/attack/pgd")) for i in (0, 1, 123456)]
    forked = [finalised(key ^ seed_of(b"0/restart/2")) for key in keys]
    assert [key % 2**64 for key in drawn.keys.tolist()] == forked


def test_bits_are_splitmix64():
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # published for seed 0
    assert [value % 2**64 for value in Streams(torch.tensor([0])).bits((3,))[0].tolist()] == known
    keys = [0, 1, -1, 2**63 - 1, -(2**63), 12345]
    drawn = Streams(torch.tensor(keys)).bits((100,))
    for key, row in zip(keys, drawn.tolist(), strict=True):
        reference = splitmix64(key)
        assert [value % 2**64 for value in row] == [next(reference) for _ in range(100)]


# whose a draw is


@each_kind
def test_rounds_draw_at_once_what_would_be_drawn_one_after_the_other(draw):
    turns, begun = streams(0, "s", 4), streams(0, "s", 4)
    begun.bits((3,)), turns.bits((3,))
    one_by_one = torch.cat([draw(turns, (2, 5)) for _ in range(3)])
    assert torch.equal(draw(begun.rounds(3, 10), (2, 5)), one_by_one)


@each_kind
def test_draws_belong_to_samples(draw):
    whole = draw(streams(3, "stage", 50), (2, 3))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(streams(3, "stage", order), (2, 3)), whole[order])
    assert torch.equal(draw(streams(3, "stage", torch.tensor([17])), (2, 3)), whole[17:18])
    for index in (order < 20, order[:7], slice(5, 9)):
        assert torch.equal(draw(streams(3, "stage", 50)[index], (2, 3)), whole[index])


@each_kind
def test_a_subset_goes_on_where_the_batch_was(draw):
    rng, control = streams(0, "stage", 10), streams(0, "stage", 10)
    draw(rng, (5,)), draw(control, (5,))
    mask = torch.arange(10) % 3 == 0
    part = rng[mask]
    later = draw(control, (4,))
    assert torch.equal(draw(part, (4,)), later[mask])
    assert torch.equal(draw(rng, (4,)), later)  # and taking a part doesn't move the whole


def test_draws_do_not_depend_on_how_they_are_asked_for():
    whole = streams(0, "stage", 4).bits((6,))
    rng = streams(0, "stage", 4)
    assert torch.equal(torch.cat([rng.bits((2,)), rng.bits((1, 3)).flatten(1), rng.bits(())[:, None]], 1), whole)


@each_kind
def test_the_same_seed_draws_the_same(draw):
    assert torch.equal(draw(streams(5, "a", 20), (9,)), draw(streams(5, "a", 20), (9,)))


@each_kind
@pytest.mark.parametrize("shape", [(), (3,), (1, 8, 8), (2, 0)])
def test_shapes(draw, shape):
    for n in (0, 1, 5):
        assert draw(streams(0, "stage", n), shape).shape == (n, *shape)


def test_no_global_state_is_read_or_written():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = [draw(streams(0, "stage", 9).fork("x"), (5,)) for draw in KINDS.values()]
    first.append(torch.rand(3, generator=generator(0, "epoch", 1)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
    with torch.random.fork_rng():
        torch.manual_seed(99)
        second = [draw(streams(0, "stage", 9).fork("x"), (5,)) for draw in KINDS.values()]
        second.append(torch.rand(3, generator=generator(0, "epoch", 1)))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# seeds


def test_derive_gives_every_part_its_own_63_bits():
    paths = [(), ("train",), ("train", 0), ("train", 1), ("train", 10), ("attack/pgd",), ("attack/fgsm",), (1,), (0, 1)]
    seeds = [derive(seed, *path) for seed in (0, 1, 10, -1) for path in paths]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(7, "a", 1) == derive(7, "a", 1)


@pytest.mark.parametrize(
    "other",
    [
        lambda: streams(1, "stage", 20_000),
        lambda: streams(0, "other", 20_000),
        lambda: streams(0, "stage", 20_000).fork("restart", 1),
        lambda: streams(0, "stage", 20_000).fork("restart", 2),
        lambda: streams(0, "stage", torch.arange(1, 20_001)),
        lambda: streams(0, "stage", torch.arange(20_000) + 2**40),
    ],
    ids=["seed", "stage", "fork 1", "fork 2", "next sample", "far sample"],
)
def test_streams_are_independent(other):
    a, b = streams(0, "stage", 20_000).uniform(()), other().uniform(())
    table, *_ = np.histogram2d(a, b, bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(table.ravel()).pvalue > ALPHA
    assert stats.pearsonr(a, b).pvalue > ALPHA


def test_forks_differ_from_each_other():
    forks = [streams(0, "s", 100).fork(*path).bits(()) for path in [("a",), ("b",), ("a", 1), ("a", 2), ()]]
    assert len(torch.cat(forks).unique()) == 500
    # A fork starts anew, wherever its parent has come to.
    used = streams(0, "s", 100)
    used.bits((3,))
    assert torch.equal(used.fork("a").bits(()), forks[0])


def test_successive_draws_are_independent():
    a, b = streams(0, "stage", 20_000).uniform((2,)).unbind(1)
    table, *_ = np.histogram2d(a, b, bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(table.ravel()).pvalue > ALPHA


def test_no_two_samples_share_a_key():
    assert len(streams(0, "stage", 1_000_000).keys.unique()) == 1_000_000


# distributions, across samples (one draw of many) and along a stream (many draws of one)

SHAPES = pytest.mark.parametrize(("n", "count"), [(20_000, 1), (1, 20_000)], ids=["across", "along"])


@SHAPES
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (5.0, 5.5)])
def test_uniform(n, count, low, high):
    values = streams(11, "uniform", n).uniform((count,), low, high)
    assert values.dtype == torch.float32
    assert low <= values.min()
    assert values.max() <= high
    assert stats.kstest(values.flatten().double(), stats.uniform(low, high - low).cdf).pvalue > ALPHA


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (-1.0, 1.0), (5.0, 6.0), (0.1, 0.7), (-2.1179, 2.64), (-499.7619390487671, -499.17058354616165)],
)
def test_uniform_never_passes_its_ends(low, high):
    class Extreme(Streams):
        def bits(self, shape):
            return torch.tensor([0, -1, 2**63 - 1, -(2**63)])  # the smallest and largest unit values among them

    values = Extreme(torch.zeros(4)).uniform((), low, high)
    assert values.min() == torch.tensor(low)
    assert values.max() <= torch.tensor(high)
    if (low, high) in [(0.0, 1.0), (-1.0, 1.0)]:
        assert values.max() < high


@SHAPES
def test_normal(n, count):
    values = streams(12, "normal", n).normal((count,))
    assert values.dtype == torch.float32
    assert stats.kstest(values.flatten().double(), "norm").pvalue > ALPHA
    assert stats.kstest(values.flatten().double().square(), stats.chi2(1).cdf).pvalue > ALPHA  # the tails count


def test_normal_is_finite_at_the_ends():
    class Extreme(Streams):
        def bits(self, shape):
            return torch.tensor([0, -1, 2**63 - 1, -(2**63), 2**32 - 1])

    assert Extreme(torch.zeros(5)).normal(()).isfinite().all()


@SHAPES
def test_sign(n, count):
    values = streams(13, "sign", n).sign((count,))
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert stats.binomtest(int((values > 0).sum()), 20_000).pvalue > ALPHA


@SHAPES
@pytest.mark.parametrize("high", [2, 7, 10, 1000])
def test_integers(n, count, high):
    values = streams(14, "integers", n).integers(high, (count,))
    assert values.dtype == torch.int64
    assert stats.chisquare(torch.bincount(values.flatten(), minlength=high)).pvalue > ALPHA


@pytest.mark.parametrize("high", [1, 3, 5, 2**20, 2**31 + 1, 2**52])
def test_integers_stay_below_their_end(high):
    class Extreme(Streams):
        def bits(self, shape):
            return torch.tensor([0, -1])

    assert Extreme(torch.zeros(2)).integers(high, ()).tolist() == [0, high - 1]


@SHAPES
def test_every_bit_is_fair(n, count):
    bits = streams(15, "bits", n).bits((count,)).flatten()
    ones = torch.stack([(bits >> place & 1).sum() for place in range(64)])
    statistic = float(((ones - 10_000) ** 2 / 5_000).sum())  # 64 squared standard normals
    assert stats.chi2(64).sf(statistic) > ALPHA
    assert stats.chi2(64).cdf(statistic) > ALPHA


def test_generator_gives_torch_one_stream():
    assert torch.equal(torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "a")))
    assert not torch.equal(torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "b")))
