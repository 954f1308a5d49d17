"""Group-sequential designs: tests of "the class wins with probability at most 1 - q" that look at the count as it grows.

Classical group-sequential testing (Pocock 1977; Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials",
Biometrika 70:659-663, for alpha spending), here with the binomial distribution itself instead of its normal limit. We count the
misses F_k among the first n_k samples: how often another class than the guess won. At look k the hypothesis is rejected if
F_k <= a_k. Under H0 each sample misses with probability at least q.

Exactness. Let Q be the probability, at miss rate q, that F_k <= a_k at some look. Couple the samples of a larger miss rate with
those of q so that every miss stays one: all counts F_k rise, and a rejection can only be lost. So Q is the largest error over H0.
Q is a sum over paths, which a dynamic programme over (look, F_k) adds up. Every number in it is rounded outward (`binomial`), and
whatever probability is dropped is counted as an error, so that the `spent` of a design bounds Q from above in real arithmetic.

Stopping early without a rejection (`futile`) only forgoes rejections that Q counts, whatever the rule: the stops are non-binding,
and chosen for speed alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from martensite.certification.binomial import UNIT, Window, binomial, convolve, slack

FIRST, RATIO = 32, 1.35  # looks
EARLY = 0.3  # of alpha, over all looks but the last
HOPE = 0.01  # chance that a look gives up a rate which the last look would reject half the time


@dataclass(frozen=True)
class Design:
    """When to stop.

    Attributes:
        q: The miss rate under test; the hypothesis is that it is at least this.
        alpha: Bound on the chance of a false rejection.
        looks: (K,) sample counts, rising.
        reject: (K,) reject if at most so many misses; -1: never at this look.
        futile: (K,) give up if at least so many misses.
        spent: Upper bound on the chance of a false rejection.
    """

    q: float
    alpha: float
    looks: tuple[int, ...]
    reject: tuple[int, ...]
    futile: tuple[int, ...]
    spent: float


@cache
def looks(n: int) -> tuple[int, ...]:
    """Sample counts of the looks: geometric from 32, the last one n."""
    counts, place = [], float(FIRST)
    while round(place) * RATIO**0.5 < n:  # a look just short of the last one would be wasted
        counts.append(round(place))
        place *= RATIO
    return (*counts, n)


def sequential_design(q: float, alpha: float, n: int) -> Design:
    """The design that spends 30 % of alpha over the early looks, in equal parts, and all that is left at the last one.

    Args:
        q: Miss rate under test, in (0, 1).
        alpha: In (0, 1).
        n: Most samples.
    """
    places = looks(n)
    early = max(1, len(places) - 1)
    budgets = [alpha * EARLY * (k + 1) / early for k in range(len(places) - 1)] + [alpha]
    reject, spent = spend(q, places, budgets)
    return Design(q, alpha, places, reject, futile(places, reject), spent)


def fixed_design(q: float, alpha: float, n: int) -> Design:
    """One look, at n: the test behind the one-sided Clopper-Pearson bound."""
    (most,), spent = spend(q, (n,), (alpha,))
    return Design(q, alpha, (n,), (most,), (most + 1,), spent)


def spend(q: float, places: Sequence[int], budgets: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """The largest thresholds, look by look, whose chance of a rejection up to each look is within its budget.

    Args:
        q: Miss rate under test.
        places: (K,) sample counts, rising.
        budgets: (K,) most probability spent up to each look, rising.

    Returns:
        The thresholds (K,), and an upper bound on the probability that they spend.
    """
    walk = _Walk(q)
    steps = np.diff(list(places), prepend=0).tolist()
    return tuple(walk.look(step, budget) for step, budget in zip(steps, budgets, strict=True)), walk.spent


def false_rejection(q: float, places: Sequence[int], reject: Sequence[int]) -> float:
    """Upper bound, exact but for outward rounding, on the chance that misses at rate q ever are within ``reject``."""
    walk = _Walk(q)
    for step, most in zip(np.diff(list(places), prepend=0).tolist(), reject, strict=True):
        walk.take(step, most)
    return walk.spent


class _Walk:
    """The distribution of the misses so far, of the paths not rejected yet.

    Attributes:
        spent: Probability of the paths that were rejected, and of what was dropped.
    """

    def __init__(self, q: float) -> None:
        self.q, self.spent = q, 0.0
        self.state = Window(0, np.ones(1), 0.0)

    def look(self, step: int, budget: float) -> int:
        """Walk ``step`` samples on; reject as many misses as the budget of spent probability allows. Returns that number."""
        self._walk(step)
        mass = self.state.mass
        total = (self.spent + np.cumsum(mass) * slack(len(mass))) * slack(1)
        affordable = int(np.searchsorted(total, budget, side="right"))
        most = self.state.first + affordable - 1 if affordable else -1
        self._reject(most)
        return most

    def take(self, step: int, most: int) -> None:
        """Walk ``step`` samples on and reject at most so many misses."""
        self._walk(step)
        self._reject(most)

    def _walk(self, step: int) -> None:
        move = _step(step, self.q)
        first, mass = self.state.first + move.first, convolve(self.state.mass, move.mass)
        # What left the window could have been rejected later: it counts as if it had been.
        kept = np.flatnonzero(mass > 1e-30)
        low, high = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 1)
        dropped = float(mass[:low].sum() + mass[high:].sum()) * slack(len(mass))
        self._spend(move.outside + dropped)
        self.state = Window(first + low, mass[low:high], 0.0)

    def _reject(self, most: int) -> None:
        count = max(0, most - self.state.first + 1)
        mass = self.state.mass
        if count:
            self._spend(float(mass[:count].sum()) * slack(len(mass)))
            rest = mass[count:] if count < len(mass) else np.zeros(1)
            self.state = Window(self.state.first + count, rest, 0.0)

    def _spend(self, probability: float) -> None:
        self.spent = (self.spent + probability) * (1.0 + 4.0 * UNIT)


@cache
def _step(n: int, q: float) -> Window:
    return binomial(n, q)


def futile(places: Sequence[int], reject: Sequence[int]) -> tuple[int, ...]:
    """(K,) misses at which a rate that the last look rejects half the time is out of hope."""
    from scipy.stats import binom  # slow to load

    hopeful = max(reject[-1], 0) / places[-1]
    stops: NDArray[np.int64] = binom.isf(HOPE, np.array(places), hopeful).astype(np.int64) + 1
    bound = np.minimum(np.maximum(stops, np.array(reject) + 1), reject[-1] + 1)
    return (*(int(stop) for stop in bound[:-1]), reject[-1] + 1)
