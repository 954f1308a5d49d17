"""Two models on the same samples: what differs, and whether that could be chance."""

from collections.abc import Sequence

from martensite.certification.fair_coin import two_sided
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.evaluation.intervals import paired_difference


class Difference(Config):
    """(Rate of the first) - (rate of the second), paired by sample.

    Attributes:
        value: In [-1, 1].
        low: Lower end of Newcombe's interval.
        high: Upper end.
        first_only: Samples where only the first succeeds.
        second_only: Samples where only the second succeeds.
        n: Samples.
        p: Of McNemar's exact test: chance of a split at least as uneven, were both equally good.
    """

    value: float
    low: float
    high: float
    first_only: int
    second_only: int
    n: int
    p: float


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of a binomial test on the discordant pairs; 1 if there is none.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika 12.

    Raises:
        ConfigError: a negative count.
    """
    if min(first_only, second_only) < 0:
        raise ConfigError(f"counts are {(first_only, second_only)}", "a count is not negative")
    fewer, more = sorted((first_only, second_only))
    return float(two_sided(more, fewer))


def difference(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> Difference:
    """Compare successes of two models on the same samples, in the same order.

    Raises:
        ConfigError: none, or not equally many.
    """
    if not 0 < len(first) == len(second):
        raise ConfigError(f"{len(first)} and {len(second)} outcomes", "pairs need both outcomes of every sample")
    pairs = list(zip(first, second, strict=True))
    both, one, other = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    low, high = paired_difference(both, one, other, len(pairs) - both - one - other, confidence)
    return Difference(
        value=(one - other) / len(pairs),
        low=low,
        high=high,
        first_only=one,
        second_only=other,
        n=len(pairs),
        p=mcnemar(one, other),
    )


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979, "A simple sequentially rejective multiple test procedure")."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, most = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = most
    return corrected
