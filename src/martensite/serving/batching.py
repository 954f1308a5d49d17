"""Dynamic batching: requests that wait at the same time are computed together, and none waits longer than was promised.

One thread computes; what arrives meanwhile is its next batch. A request that would be late is turned away at once, so that the
queue is bounded both in samples and in seconds.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from martensite.core.config import Config
from martensite.serving.outcome import Outcome
from martensite.serving.pace import Pace
from martensite.serving.refusal import Refusal
from martensite.serving.traces import ORIGIN


class Batching(Config):
    """How requests are put together.

    Args:
        max_batch: Most samples that are taken from the queue together; through the network they go in passes that a CPU's
            caches hold.
        max_wait: Seconds that an idle model waits for company for a batch that isn't full.
        max_queue: Most samples that wait.
        latency: Seconds from arrival to answer; a request that can't be expected to make it gets 429 with Retry-After.
        timeout: Seconds after which a request that waits nevertheless is given up with 503.
    """

    max_batch: PositiveInt = 128
    max_wait: NonNegativeFloat = 0.001
    max_queue: PositiveInt = 1024
    latency: PositiveFloat = 1.0
    timeout: PositiveFloat = 10.0


@dataclass
class Pending:
    """A request in the queue, or a part of one that is larger than a batch.

    Attributes:
        x: (n, *d).
        id: Of the request.
        key: Name of its API key.
        future: Takes the `Outcome`.
        arrived: ``time.perf_counter()``.
        origin: Of its trace.
    """

    x: npt.NDArray[np.float32]
    id: str
    key: str
    future: "asyncio.Future[Outcome]"
    arrived: float = field(default_factory=time.perf_counter)
    origin: Any = field(default_factory=ORIGIN.get)


@dataclass(frozen=True)
class Done:
    """A batch that was computed and delivered.

    Attributes:
        parts: What was in it, in order.
        x: (n, *d).
        outcome: Of its rows.
        began: ``time.perf_counter()`` when its computation started.
        seconds: That it took.
        queued: Samples that stayed behind.
    """

    parts: Sequence[Pending]
    x: npt.NDArray[np.float32]
    outcome: Outcome
    began: float
    seconds: float
    queued: int


class Batcher:
    """A queue and the thread that empties it.

    Args:
        compute: From (n, *d) to the outcome of n rows.
        after: Told of each batch, when its answers are on their way.
        settings: Bounds.
        pace: How long a batch takes.
        name: Of the thread.
    """

    def __init__(
        self,
        compute: Callable[[npt.NDArray[np.float32]], Outcome],
        after: Callable[[Done], None],
        settings: Batching,
        pace: Pace,
        name: str,
    ) -> None:
        self.settings, self.pace = settings, pace
        self._compute, self._after = compute, after
        self._queue: deque[Pending] = deque()
        self._waiting = self._running = 0
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"batcher {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return self._waiting

    @property
    def ahead(self) -> float:
        """Seconds until what waits and what is being computed is answered, as far as that can be foreseen."""
        return self.pace.queue(self._waiting + self._running, self.settings.max_batch)

    def fits(self, n: int) -> None:
        """Refuse what could never be taken.

        Raises:
            Refusal: 413, more than can ever wait.
        """
        most = self.settings.max_queue
        if n > most:
            raise Refusal(413, f"{n} samples in one request", f"at most {most} can wait", "split it into several requests")

    async def submit(self, x: npt.NDArray[np.float32], id: str, key: str) -> Outcome:
        """The outcome of n samples, once a batch had room for them.

        Raises:
            Refusal: 429, the queue is full or too slow; 503, it took too long or the model is gone; 413, more than can ever wait.
        """
        settings, n = self.settings, len(x)
        self.fits(n)
        loop = asyncio.get_running_loop()
        parts = [
            Pending(x[start : start + settings.max_batch], id, key, loop.create_future())
            for start in range(0, n, settings.max_batch)
        ]
        with self._news:
            if self._closed:
                raise Refusal(503, "this version was just replaced", "it takes no new requests", "ask again", retry_after=1.0)
            ahead = self._waiting + self._running
            if self._waiting + n > settings.max_queue:
                late = self.pace.queue(ahead, settings.max_batch)
                raise _busy(f"{self._waiting} samples wait", f"at most {settings.max_queue} may", late)
            expected = self.pace.queue(ahead + n, settings.max_batch)
            if ahead and expected > settings.latency:  # an idle model takes what it is given, however large
                raise _busy(
                    f"an answer would take {expected:.2f} s",
                    f"one is given within {settings.latency:g} s",
                    expected - settings.latency,
                )
            self._queue.extend(parts)
            self._waiting += n
            self._news.notify()
        try:
            async with asyncio.timeout(settings.timeout):
                return Outcome.joined([await part.future for part in parts])
        except TimeoutError:
            raise Refusal(503, f"no answer within {settings.timeout:g} s", "", "ask again later", retry_after=1.0) from None
        finally:
            for part in parts:  # what nobody waits for any more isn't computed
                if not part.future.cancel() and not part.future.cancelled():
                    part.future.exception()  # looked at, or asyncio complains about it

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, finish what waits, and end the thread.

        Returns:
            Whether it ended in time.
        """
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while batch := self._next():
            x = batch[0].x if len(batch) == 1 else np.concatenate([one.x for one in batch])
            queued, began = self._waiting, time.perf_counter()
            try:
                outcome: Outcome | Exception = self._compute(x)
            except Exception as error:
                outcome = error
            seconds = time.perf_counter() - began
            self.pace.took(len(x), seconds)
            self._running = 0
            self._deliver(batch, outcome)
            if isinstance(outcome, Outcome):
                self._after(Done(batch, x, outcome, began, seconds, queued))

    def _next(self) -> list[Pending]:
        """What to compute together now; empty: it is over."""
        settings = self.settings
        with self._news:
            while True:
                while not self._queue:
                    if self._closed:
                        return []
                    self._news.wait()
                until = self._queue[0].arrived + settings.max_wait
                while self._waiting < settings.max_batch and not self._closed and (left := until - time.perf_counter()) > 0:
                    self._news.wait(left)
                batch, n = [], 0
                while self._queue and n + len(self._queue[0].x) <= settings.max_batch:
                    one = self._queue.popleft()
                    self._waiting -= len(one.x)
                    if not one.future.done():
                        batch.append(one)
                        n += len(one.x)
                if batch:
                    self._running = n
                    return batch

    def _deliver(self, batch: Sequence[Pending], outcome: Outcome | Exception) -> None:
        # One wake-up of the event loop for the whole batch.
        loop = batch[0].future.get_loop()
        try:
            loop.call_soon_threadsafe(_resolve, batch, outcome)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _resolve(batch: Sequence[Pending], outcome: Outcome | Exception) -> None:
    start = 0
    for one in batch:
        stop = start + len(one.x)
        if not one.future.done():
            if isinstance(outcome, Exception):
                one.future.set_exception(outcome)
            else:
                one.future.set_result(outcome.rows(start, stop))
        start = stop


def _busy(value: str, rule: str, seconds: float) -> Refusal:
    return Refusal(429, value, rule, "ask again later, or slower", retry_after=max(seconds, 0.01))
