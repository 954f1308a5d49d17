"""Batching: every request gets its own rows, whatever it was computed with; and the queue has an end."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.serving.batching import Batcher, Batching
from martensite.serving.outcome import Outcome
from martensite.serving.pace import Pace
from martensite.serving.refusal import Refusal


def identity(x):
    return Outcome.plain(x.reshape(len(x), -1)[:, :2].astype(np.float32))


class Bench:
    """A batcher, what it computed, and a gate that holds the computation up."""

    def __init__(self, compute=identity, pace=None, **settings):
        self.batches, self.open = [], threading.Event()
        self.open.set()
        self.entered = threading.Event()

        def computed(x):
            self.entered.set()
            assert self.open.wait(30)
            return compute(x)

        self.batcher = Batcher(computed, self.batches.append, Batching(**settings), pace or Pace(), "test")

    def close(self):
        self.open.set()
        assert self.batcher.close(30)


@pytest.fixture
def bench():
    made = []

    def make(*given, **settings):
        made.append(Bench(*given, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows(first, n):
    return np.stack([np.arange(first, first + n), np.zeros(n)], 1).astype(np.float32)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_every_request_gets_its_own_rows(sizes, largest):
    bench = Bench(max_batch=largest, max_wait=0.0)
    starts = np.cumsum([0, *sizes])

    async def ask():
        return await asyncio.gather(
            *(bench.batcher.submit(rows(int(a), n), str(n), "k") for a, n in zip(starts, sizes, strict=False))
        )

    try:
        for outcome, first, n in zip(asyncio.run(ask()), starts, sizes, strict=False):
            np.testing.assert_array_equal(outcome.logits, rows(int(first), n))
    finally:
        bench.close()
    assert sum(len(done.x) for done in bench.batches) == sum(sizes)
    assert all(1 <= len(done.x) <= largest for done in bench.batches)
    for done in bench.batches:  # observers see whose rows are whose
        assert sum(len(part.x) for part in done.parts) == len(done.x)


def test_what_waits_at_the_same_time_is_computed_together(bench):
    held = bench(max_batch=8, max_wait=0.0)
    held.open.clear()

    async def ask():
        first = asyncio.create_task(held.batcher.submit(rows(0, 1), "a", "k"))
        await asyncio.to_thread(held.entered.wait, 30)
        others = [asyncio.create_task(held.batcher.submit(rows(n, 1), "b", "k")) for n in range(1, 9)]
        await asyncio.sleep(0)
        held.open.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    held.close()
    assert [len(done.x) for done in held.batches] == [1, 8]
    assert held.batches[0].queued == 0


def test_an_idle_model_waits_for_company_no_longer_than_it_is_told(bench):
    held = bench(max_batch=2, max_wait=3600.0)  # a batch that is full doesn't wait

    async def ask():
        return await asyncio.gather(*(held.batcher.submit(rows(n, 1), "a", "k") for n in range(2)))

    assert len(asyncio.run(ask())) == 2
    held.close()
    assert [len(done.x) for done in held.batches] == [2]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(bench):
    held = bench(pace=Pace(each=0.5), max_batch=1, max_wait=0.0, max_queue=2, latency=1000.0)
    held.open.clear()

    async def ask():
        tasks = [asyncio.create_task(held.batcher.submit(rows(0, 1), "a", "k"))]
        await asyncio.to_thread(held.entered.wait, 30)
        tasks += [asyncio.create_task(held.batcher.submit(rows(n, 1), "a", "k")) for n in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await held.batcher.submit(rows(9, 1), "a", "k")
        held.open.set()
        await asyncio.gather(*tasks)
        return refused.value

    refused = asyncio.run(ask())
    assert refused.status == 429
    assert refused.retry_after == pytest.approx(1.5)  # three samples, half a second each


def test_what_would_be_late_is_refused_before_it_waits(bench):
    held = bench(pace=Pace(each=0.5), max_batch=1, max_wait=0.0, latency=1.2)
    held.open.clear()

    async def ask():
        tasks = [asyncio.create_task(held.batcher.submit(rows(0, 1), "a", "k"))]
        await asyncio.to_thread(held.entered.wait, 30)
        tasks.append(asyncio.create_task(held.batcher.submit(rows(1, 1), "a", "k")))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await held.batcher.submit(rows(2, 1), "a", "k")
        held.open.set()
        await asyncio.gather(*tasks)
        return refused.value

    refused = asyncio.run(ask())
    assert refused.status == 429
    assert refused.retry_after == pytest.approx(0.3)


def test_an_idle_model_takes_what_it_is_given(bench):
    held = bench(pace=Pace(each=10.0), max_wait=0.0, latency=1.0)
    assert len(asyncio.run(held.batcher.submit(rows(0, 3), "a", "k")).logits) == 3


def test_more_than_can_ever_wait_is_413(bench):
    held = bench(max_queue=4)
    with pytest.raises(Refusal) as refused:
        asyncio.run(held.batcher.submit(rows(0, 5), "a", "k"))
    assert refused.value.status == 413


def test_a_request_that_waits_too_long_is_given_up_and_not_computed(bench):
    held = bench(max_batch=1, max_wait=0.0, timeout=0.05)
    held.open.clear()

    async def ask():
        first = asyncio.create_task(held.batcher.submit(rows(0, 1), "a", "k"))
        await asyncio.to_thread(held.entered.wait, 30)
        with pytest.raises(Refusal) as refused:
            await held.batcher.submit(rows(1, 1), "late", "k")
        with pytest.raises(Refusal):
            await first
        return refused.value

    assert asyncio.run(ask()).status == 503
    held.close()
    assert [part.id for done in held.batches for part in done.parts] == ["a"]


def test_a_computation_that_fails_fails_for_its_own_batch_only(bench):
    def fragile(x):
        if (x < 0).any():
            raise RuntimeError("boom")
        return identity(x)

    held = bench(fragile, max_batch=1, max_wait=0.0)

    async def ask():
        return await asyncio.gather(
            *(held.batcher.submit(rows(first, 1), "a", "k") for first in (0, -5, 2)), return_exceptions=True
        )

    good, bad, also_good = asyncio.run(ask())
    assert isinstance(bad, RuntimeError)
    assert good.logits[0, 0] == 0
    assert also_good.logits[0, 0] == 2


def test_closing_finishes_what_waits_and_takes_nothing_new(bench):
    held = bench(max_batch=1, max_wait=0.0)
    held.open.clear()

    async def ask():
        tasks = [asyncio.create_task(held.batcher.submit(rows(n, 1), "a", "k")) for n in range(3)]
        await asyncio.to_thread(held.entered.wait, 30)
        closing = asyncio.create_task(asyncio.to_thread(held.batcher.close))
        while not held.batcher._closed:
            await asyncio.sleep(0.01)
        with pytest.raises(Refusal) as refused:
            await held.batcher.submit(rows(9, 1), "a", "k")
        held.open.set()
        assert await closing
        return refused.value, await asyncio.gather(*tasks)

    refused, outcomes = asyncio.run(ask())
    assert refused.status == 503
    assert [outcome.logits[0, 0] for outcome in outcomes] == [0, 1, 2]


def test_the_pace_is_a_line_through_two_batches_scaled_by_how_things_went():
    pace = Pace.through(one=0.010, many=0.073, n=64)
    assert pace.batch(1) == pytest.approx(0.010)
    assert pace.batch(64) == pytest.approx(0.073)
    assert pace.queue(130, 64) == pytest.approx(2 * 0.073 + pace.batch(2))
    for _ in range(200):
        pace.took(64, 2 * 0.073)
    assert pace.batch(1) == pytest.approx(0.020, rel=1e-3)
    assert Pace.through(one=0.01, many=0.005, n=64).batch(64) >= 0  # a noisy warm-up
