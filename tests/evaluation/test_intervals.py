"""Intervals against scipy, exact coverage, and published examples."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from martensite.core.errors import ConfigError
from martensite.evaluation import Rate, clopper_pearson, paired_difference, wilson

COUNTS = [(count, n) for n in (1, 2, 7, 50, 449, 10_000) for count in sorted({0, 1, n // 3, n // 2, n - 1, n})]


@pytest.mark.parametrize(("count", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("interval", "method"), [(clopper_pearson, "exact"), (wilson, "wilson")])
def test_as_scipy(interval, method, count, n, confidence):
    expected = binomtest(count, n).proportion_ci(confidence, method=method)
    assert interval(count, n, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n", [1, 3, 20, 100])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_exact_interval_covers_at_least_as_often_as_stated(n, confidence):
    """Exact, for a grid of true rates: the sum of the probabilities of all counts whose interval holds the rate."""
    ends = [clopper_pearson(count, n, confidence) for count in range(n + 1)]
    for p in np.linspace(0, 1, 201):
        covering = [count for count, (low, high) in enumerate(ends) if low <= p <= high]
        assert binom.pmf(covering, n, p).sum() >= confidence - 1e-12


def test_wilson_covers_as_stated_on_average():
    n, rates = 50, np.linspace(0.01, 0.99, 99)
    ends = [wilson(count, n) for count in range(n + 1)]
    coverage = [binom.pmf([c for c, (low, high) in enumerate(ends) if low <= p <= high], n, p).sum() for p in rates]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)
    assert min(coverage) < 0.95  # which is why reports state the exact one


@pytest.mark.parametrize("interval", [clopper_pearson, wilson])
@pytest.mark.parametrize("n", [1, 30])
def test_an_interval_holds_its_rate_and_mirrors(interval, n):
    for count in range(n + 1):
        low, high = interval(count, n)
        assert 0 <= low <= count / n + 1e-12
        assert count / n - 1e-12 <= high <= 1
        assert interval(n - count, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("interval", [clopper_pearson, wilson])
@pytest.mark.parametrize(("count", "n", "confidence"), [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_counts_and_confidences_are_refused(interval, count, n, confidence):
    with pytest.raises(ConfigError):
        interval(count, n, confidence)


def test_a_rate_carries_the_exact_interval():
    rate = Rate.of(3, 40)
    assert (rate.value, rate.count, rate.n, rate.confidence, rate.method) == (0.075, 3, 40, 0.95, "clopper-pearson")
    assert (rate.low, rate.high) == clopper_pearson(3, 40)


# paired differences


@pytest.mark.parametrize(
    ("table", "difference", "low", "high"),
    [
        # Altman, Machin, Bryant and Gardner 2000, "Statistics with confidence", table 6.2.
        ((14, 5, 0, 22), 0.122, 0.011, 0.226),
        # Fagerland, Lydersen and Laake 2014, the two examples (Bentur et al. 2009, Cavo et al. 2012).
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),
        ((59, 6, 16, 80), -0.062, -0.119, -0.005),
    ],
)
def test_published_examples(table, difference, low, high):
    n = sum(table)
    assert (table[1] - table[2]) / n == pytest.approx(difference, abs=6e-4)
    assert paired_difference(*table) == pytest.approx((low, high), abs=6e-4)


tables = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


@given(tables)
@settings(max_examples=300, deadline=None)
def test_a_difference_is_in_its_interval_and_mirrors(table):
    both, first, second, neither = table
    low, high = paired_difference(*table)
    difference = (first - second) / sum(table)
    assert -1 - 1e-9 <= low <= difference + 1e-12
    assert difference - 1e-12 <= high <= 1 + 1e-9
    # The two models change places, then successes and failures do: either turns the sign.
    assert paired_difference(both, second, first, neither) == pytest.approx((-high, -low), abs=1e-9)
    assert paired_difference(neither, second, first, both) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("n", [10, 1000])
def test_two_models_that_always_agree_differ_by_nothing(n):
    low, high = paired_difference(n // 2, 0, 0, n // 2)
    assert low == pytest.approx(-high)
    assert high > 0
    shorter = paired_difference(5 * n, 0, 0, 5 * n)
    assert shorter[1] < high / 5  # faster than 1 / sqrt(n): the pairs are told


def test_pairs_narrow_the_interval_of_models_that_agree():
    agreeing, independent = paired_difference(80, 10, 5, 105), paired_difference(40, 50, 45, 65)
    width = [high - low for low, high in (agreeing, independent)]
    assert width[0] < 0.6 * width[1]


@cache
def intervals(n):
    rows = [(a, b, c, n - a - b - c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)]
    return np.array(rows), np.array([paired_difference(*row) for row in rows])


def test_it_covers_as_stated_on_average():
    """Exact, n = 16 pairs: the sum over all 969 tables, for 60 distributions of pairs from weak to strong association."""
    tables_, ends = intervals(16)
    coverage = []
    for first in (0.5, 0.7, 0.9):
        for second in (0.3, 0.5, 0.7, 0.9):
            most = min(first, second) - first * second
            for share in (0.0, 0.25, 0.5, 0.75, 0.9):
                both = first * second + share * most
                p = [both, first - both, second - both, 1 - first - second + both]
                assert min(p) > -1e-12
                p = np.clip(p, 0, 1)
                holds = (ends[:, 0] <= first - second + 1e-12) & (first - second - 1e-12 <= ends[:, 1])
                coverage.append(multinomial.pmf(tables_[holds], 16, p / p.sum()).sum())
    assert np.mean(coverage) == pytest.approx(0.96, abs=0.015)
    assert min(coverage) > 0.9


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (5, -2, 3, 4), (-1, 1, 1, 1), (3, 1, 1, -1)])
def test_impossible_tables_are_refused(table):
    with pytest.raises(ConfigError):
        paired_difference(*table)


def test_a_difference_of_certain_rates():
    low, high = paired_difference(0, 0, 0, 9)
    assert low == -high < 0
    low, high = paired_difference(0, 9, 0, 0)
    assert high == pytest.approx(1.0)
    assert low < 0.8
