"""How late the event loop is: what has arrived and was not read yet has waited that long, and no queue knows of it.

A timer that is late by L seconds shows that a turn of the loop takes L: so long a request waits until it is read, and, once it is
computed, until its answer is sent.
"""

import asyncio
import math
import time
from collections.abc import Callable

from martensite.serving.refusal import Refusal

TICK = 0.05  # seconds


class Lag:
    """A timer and how late it is.

    Args:
        clock: Seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._due = clock, math.inf
        self._before = self._late = 0.0

    @property
    def seconds(self) -> float:
        """By how much two timers in a row were late, the one that runs included; a single one may be a pause that is over."""
        overdue = max(self._clock() - self._due, 0.0)
        return max(min(self._before, self._late), min(self._late, overdue))

    def begin(self) -> None:
        """Set the timer."""
        self._due = self._clock() + TICK

    def end(self) -> None:
        """It went off."""
        self._before, self._late = self._late, max(self._clock() - self._due, 0.0)
        self._due = math.inf

    async def watch(self) -> None:
        """Set it again and again."""
        while True:
            self.begin()
            await asyncio.sleep(TICK)
            self.end()

    def admit(self, queued: float, latency: float) -> None:
        """Refuse what can't be answered in time, before anything of it is looked at.

        Args:
            queued: Seconds until what waits already is computed.
            latency: Seconds from arrival to answer.

        Raises:
            Refusal: 429, with the time after which it may be asked again.
        """
        late = self.seconds
        if late and late + queued > latency:
            raise Refusal(
                429,
                f"the server is {late:.2f} s behind, and an answer would take {queued:.2f} s more",
                f"one is given within {latency:g} s",
                "ask again later, or slower",
                retry_after=max(late + queued - latency, 0.01),
            )
