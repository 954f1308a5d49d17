"""The last minute, second by second."""

import numpy as np
import numpy.typing as npt

SECONDS = 60


class Lately:
    """Sums in each of the last 60 seconds; older ones fall out by themselves.

    Args:
        columns: How many sums are kept apart.
        began: Second since 1970 before which nothing was there.
    """

    def __init__(self, columns: int, began: float) -> None:
        self._sums = np.zeros((SECONDS, columns))
        self._second, self._began = int(began), began

    def add(self, moment: float, *amounts: float) -> None:
        """Add one amount a column, at a moment (seconds since 1970); a clock that was set back counts as not moving."""
        self._turn(moment)
        self._sums[self._second % SECONDS] += amounts

    def seconds(self, moment: float) -> npt.NDArray[np.float64]:
        """(60, columns), the oldest second first."""
        self._turn(moment)
        return np.roll(self._sums, -(self._second + 1) % SECONDS, axis=0)

    def sums(self, moment: float) -> list[float]:
        """One a column."""
        self._turn(moment)
        return [float(one) for one in self._sums.sum(0)]

    def span(self, moment: float) -> float:
        """Seconds that the sums are over: 60, or as long as there was anything to count; at least 1."""
        return float(min(SECONDS, max(moment - self._began, 1.0)))

    def _turn(self, moment: float) -> None:
        passed = int(moment) - self._second
        if passed <= 0:
            return
        for second in range(self._second + 1, self._second + 1 + min(passed, SECONDS)):
            self._sums[second % SECONDS] = 0.0
        if passed > SECONDS:
            self._sums[:] = 0.0
        self._second = int(moment)
