"""The last minute second by second, or the last hour minute by minute."""

import numpy as np
import numpy.typing as npt

PARTS = 60


class Lately:
    """Sums in each of the last 60 seconds, or longer parts; older ones fall out by themselves.

    Args:
        columns: How many sums are kept apart.
        began: Second since 1970 before which nothing was there.
        step: Seconds a part.
    """

    def __init__(self, columns: int, began: float, step: int = 1) -> None:
        self._sums = np.zeros((PARTS, columns))
        self._part, self._began, self._step = int(began) // step, began, step

    def add(self, moment: float, *amounts: float) -> None:
        """Add one amount a column, at a moment (seconds since 1970); a clock that was set back counts as not moving."""
        self._turn(moment)
        self._sums[self._part % PARTS] += amounts

    def seconds(self, moment: float) -> npt.NDArray[np.float64]:
        """(60, columns), the oldest part first."""
        self._turn(moment)
        return np.roll(self._sums, -(self._part + 1) % PARTS, axis=0)

    def sums(self, moment: float) -> list[float]:
        """One a column."""
        self._turn(moment)
        return [float(one) for one in self._sums.sum(0)]

    def span(self, moment: float) -> float:
        """Seconds that the sums are over: 60 parts, or as long as there was anything to count; at least 1."""
        return float(min(PARTS * self._step, max(moment - self._began, 1.0)))

    def _turn(self, moment: float) -> None:
        part = int(moment) // self._step
        passed = part - self._part
        if passed <= 0:
            return
        for gone in range(self._part + 1, self._part + 1 + min(passed, PARTS)):
            self._sums[gone % PARTS] = 0.0
        self._part = part
