"""Conformal p-values on line: where a new score stands among the reference's and all that came before it.

Vovk, Nouretdinov and Gammerman 2003, "Testing exchangeability on-line", ICML, theorem 1: if reference and stream are
exchangeable, these smoothed p-values are independent and uniform on [0, 1], exactly and for ever. Against a reference alone
they would not be: a long stream finds out how far any finite sample is from the truth, and rings without drift. So every score
joins the bag. Scores are put into bins first; which bin a score falls into is a score itself, so nothing of that is lost, and
memory doesn't grow.
"""

import numpy as np
import numpy.typing as npt

PART = 256  # scores that are compared with one another at once


class Bag:
    """What was seen so far.

    Args:
        grid: (m,) scores that choose the bins, apart from all others: else the reference would know them and the stream not.
        reference: (n,) scores that the bag begins with.
        rng: Breaks ties.
    """

    def __init__(self, grid: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], rng: np.random.Generator) -> None:
        self._edges, self._rng = np.unique(grid), rng
        # Odd bins hold the scores that are equal to an edge, even ones those between two.
        self._counts = np.zeros(2 * len(self._edges) + 1, dtype=np.int64)
        self._counts += np.bincount(self._bins(reference), minlength=len(self._counts))

    @property
    def n(self) -> int:
        """Scores seen, the reference's included."""
        return int(self._counts.sum())

    def p_values(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(m,) in (0, 1): small where a score is larger than most; the scores join the bag one after the other."""
        parts = [self._next(scores[start : start + PART]) for start in range(0, len(scores), PART)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _next(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        bins = self._bins(scores)
        above = self._counts[::-1].cumsum()[::-1] - self._counts  # in larger bins
        before = np.tri(len(bins), k=-1, dtype=bool)
        larger = above[bins] + ((bins[None, :] > bins[:, None]) & before).sum(1)
        equal = self._counts[bins] + ((bins[None, :] == bins[:, None]) & before).sum(1)
        n = self.n + np.arange(len(bins))
        self._counts += np.bincount(bins, minlength=len(self._counts))
        chance = 1.0 - self._rng.random(len(bins))  # in (0, 1]: no p-value is 0
        return (larger + chance * (equal + 1)) / (n + 1)  # type: ignore[no-any-return]

    def _bins(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        left, right = self._edges.searchsorted(scores, "left"), self._edges.searchsorted(scores, "right")
        return left + right
