"""A plan: the tests of one or many radii, and what is concluded from the misses at each look.

Many radii. Radius r_j is certified if the class misses less often than q_j, and q_1 > q_2 > ... for r_1 < r_2 < ...: the
hypotheses H_j, "the miss rate is at least q_j", are nested, each true one making all later ones true. A radius counts only when
H_1, ..., H_j are all rejected, each by its own test of level alpha (a fixed sequence, as in Maurer, Hothorn and Lehmacher 1995).

No correction is needed. Let H_t be the first true hypothesis. A false certificate is one of some radius r_j with j >= t, which
needs H_t rejected. The test of H_t alone does that with probability at most alpha over its whole path of looks. That the other
hypotheses are rejected at other looks, earlier or later, and that sampling stops for reasons of theirs, only selects among the
looks of that path: {H_t rejected at a look that was reached} is a part of {H_t rejected at a look}. So the chance of any false
certificate for an input is at most alpha, and a rejection once made stays made, though the count may drift back.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from martensite.certification.design import Design


class Plan:
    """The tests of a rising row of radii on one path of looks.

    Args:
        designs: (M,) one a radius, all with the same looks; none: sampling goes on to n and nothing is tested.
        n: Where there is no design, the one look.
    """

    def __init__(self, designs: Sequence[Design], n: int) -> None:
        self.looks = designs[0].looks if designs else (n,)
        shape = (len(designs), len(self.looks))
        self.reject: NDArray[np.int64] = np.array([one.reject for one in designs], dtype=np.int64).reshape(shape)
        self.futile: NDArray[np.int64] = np.array([one.futile for one in designs], dtype=np.int64).reshape(shape)


class Course:
    """Where one input stands in a plan.

    Attributes:
        look: Looks taken.
        level: Radii certified.
        done: Whether nothing is left to find out.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.look, self.level, self.done = plan, 0, 0, False
        self._rejected = np.zeros(len(plan.reject), dtype=bool)

    @property
    def next(self) -> int:
        """Samples in all at the next look."""
        return self.plan.looks[self.look]

    def see(self, misses: int) -> None:
        """Take the next look, at which so many of its samples were misses."""
        plan, radii = self.plan, len(self._rejected)
        self._rejected |= misses <= plan.reject[:, self.look]
        while self.level < radii and self._rejected[self.level]:
            self.level += 1
        last, certain = self.look + 1 == len(plan.looks), radii > 0 and self.level == radii
        hopeless = self.level < radii and misses >= plan.futile[self.level, self.look]
        self.look += 1
        self.done = last or certain or bool(hopeless)
