"""A histogram that takes whole arrays at a time: a loop over samples would cost more than the model."""

import numpy as np
import numpy.typing as npt


class Tally:
    """Counts below fixed bounds, as Prometheus has them: a value on a bound belongs below it.

    Args:
        bounds: Rising, finite.

    Attributes:
        counts: (len(bounds) + 1,) int64; the last: above all of them.
        sum: Of the values.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._bounds = np.asarray(bounds)
        self.counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Count values; those that aren't finite are no values."""
        values = values[np.isfinite(values)]
        self.counts += np.bincount(self._bounds.searchsorted(values), minlength=len(self.counts))
        self.sum += float(values.sum())

    def add_one(self, value: float) -> None:
        """Count one finite value."""
        self.counts[self._bounds.searchsorted(value)] += 1
        self.sum += value

    @property
    def n(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> float | None:
        """Interpolated in its bucket, as ``histogram_quantile`` does it; None: nothing was counted."""
        total = self.n
        if not total:
            return None
        below = np.cumsum(self.counts)
        place = int(below.searchsorted(q * total))
        if place >= len(self.bounds):
            return self.bounds[-1]
        low, before = (self.bounds[place - 1], int(below[place - 1])) if place else (min(0.0, self.bounds[0]), 0)
        inside = int(self.counts[place])
        return low if not inside else low + (self.bounds[place] - low) * (q * total - before) / inside


def joined(parts: list[Tally], bounds: tuple[float, ...]) -> Tally:
    """All of them as one."""
    whole = Tally(bounds)
    for part in parts:
        whole.counts += part.counts
        whole.sum += part.sum
    return whole
