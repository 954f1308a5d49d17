"""Intervals for rates: a figure without one is no measurement."""

from math import sqrt

from scipy.special import betaincinv, ndtri

from martensite.core.errors import ConfigError


def clopper_pearson(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval for a binomial proportion; covers with at least ``confidence`` for every true rate.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".

    Args:
        count: Successes, 0..n.
        n: Trials, at least 1.
        confidence: In (0, 1).
    """
    _check(count, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, tail))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - tail))
    return low, high


def wilson(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval: shorter than the exact one, with the stated coverage on average (Wilson 1927)."""
    _check(count, n, confidence)
    z = float(ndtri(1 - (1 - confidence) / 2))
    centre = (count + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(count * (n - count) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval for (rate of the first) - (rate of the second), both measured on the same samples.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17:2635-2650, method 10: Wilson intervals joined through the correlation of the pairs.

    Args:
        both: Samples where both succeed.
        first_only: Samples where only the first succeeds.
        second_only: Samples where only the second succeeds.
        neither: Samples where none does.
        confidence: In (0, 1).
    """
    n = both + first_only + second_only + neither
    if min(both, first_only, second_only, neither) < 0:
        raise ConfigError(f"counts are {(both, first_only, second_only, neither)}", "a count is not negative")
    first, second = both + first_only, both + second_only
    (low_1, high_1), (low_2, high_2) = wilson(first, n, confidence), wilson(second, n, confidence)
    rate_1, rate_2 = first / n, second / n
    spread = first * (n - first) * second * (n - second)
    determinant: float = both * neither - first_only * second_only
    # The continuity correction pulls a positive association towards zero.
    determinant = max(determinant - n / 2, 0.0) if determinant > 0 else determinant
    phi = determinant / sqrt(spread) if spread else 0.0
    down = (rate_1 - low_1) ** 2 - 2 * phi * (rate_1 - low_1) * (high_2 - rate_2) + (high_2 - rate_2) ** 2
    up = (high_1 - rate_1) ** 2 - 2 * phi * (high_1 - rate_1) * (rate_2 - low_2) + (rate_2 - low_2) ** 2
    difference = rate_1 - rate_2
    return difference - sqrt(max(down, 0.0)), difference + sqrt(max(up, 0.0))


def _check(count: int, n: int, confidence: float) -> None:
    if n < 1 or not 0 <= count <= n:
        raise ConfigError(f"{count} successes of {n} trials", "n must be at least 1 and the count in 0..n")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}", "it lies strictly between 0 and 1", "e.g. 0.95")
