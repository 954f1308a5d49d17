"""The thread that looks for drift, beside those that compute answers: it takes its time, and no more than it may."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.watch import DriftWatch

PART = 1024  # samples that are looked at together
SHORTEST, LONGEST = 0.1, 5.0  # seconds of rest at once: many samples together cost less


@dataclass(frozen=True)
class Paper:
    """Samples to look at."""

    watch: DriftWatch
    x: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    p_value: npt.NDArray[np.float64]
    moment: float


class Desk:
    """A queue that is never longer than it may be, and a thread that rests as long as its budget demands.

    Args:
        budget: Share of the processor time that this process takes.
        waiting: Most samples in the queue.
        complain: Given a line when something fails.
        mine: Processor seconds of the thread that asks.
        whole: Processor seconds of the process.

    Attributes:
        spent: Processor seconds that it took so far.
        due: Of the process, from which on it may work again.
    """

    def __init__(
        self,
        budget: float,
        waiting: int,
        complain: Callable[[str], None],
        mine: Callable[[], float] = time.thread_time,
        whole: Callable[[], float] = time.process_time,
    ) -> None:
        self._budget, self._most, self._complain = budget, waiting, complain
        self._mine, self._whole = mine, whole
        self.spent, self.due = 0.0, 0.0
        self._papers: deque[Paper] = deque()
        self._waiting = 0
        self._news = threading.Condition()
        self._closed = self._busy = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, paper: Paper) -> bool:
        """Leave samples; False if there is no room, and they are passed over."""
        with self._news:
            if self._closed or self._waiting + len(paper.x) > self._most:
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="drift watch", daemon=True)
                self._thread.start()
            self._papers.append(paper)
            self._waiting += len(paper.x)
            self._news.notify_all()
            return True

    def settle(self, timeout: float = 60.0) -> bool:
        """Wait until everything was looked at."""
        with self._news:
            return self._news.wait_for(lambda: not self._papers and not self._busy, timeout)

    def close(self) -> None:
        """Leave what waits, and end."""
        with self._news:
            self._closed = True
            self._papers.clear()
            self._news.notify_all()
        self._end.set()
        if self._thread is not None:
            self._thread.join(LONGEST)

    def _work(self) -> None:
        while papers := self._next():
            began = self._mine()
            try:
                papers[0].watch.see(
                    np.concatenate([one.x for one in papers]),
                    np.concatenate([one.logits for one in papers]),
                    np.concatenate([one.p_value for one in papers]),
                    papers[-1].moment,
                )
            except Exception as error:  # what is watched goes on
                self._complain(f"the drift watch stumbled: {type(error).__name__}: {error}")
            took = self._mine() - began
            with self._news:
                self.spent, self.due = self.spent + took, self._whole() + took * (1.0 / self._budget - 1.0)
                self._busy = False
                self._news.notify_all()
            since = time.monotonic()
            while not self._end.wait(SHORTEST):
                if self._whole() >= self.due or time.monotonic() - since > LONGEST:
                    break

    def _next(self) -> list[Paper]:
        with self._news:
            self._news.wait_for(lambda: self._papers or self._closed)
            if self._closed:
                return []
            papers, n = [self._papers.popleft()], 0
            n = len(papers[0].x)
            while self._papers and self._papers[0].watch is papers[0].watch and n + len(self._papers[0].x) <= PART:
                papers.append(self._papers.popleft())
                n += len(papers[-1].x)
            self._waiting -= n
            self._busy = True
            return papers
