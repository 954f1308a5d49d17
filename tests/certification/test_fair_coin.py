"""The test of a fair coin is scipy's exact binomial test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from martensite.certification.fair_coin import two_sided


@given(st.integers(0, 400), st.integers(0, 400))
def test_it_is_the_exact_binomial_test(first, second):
    fewer, more = sorted((first, second))
    expected = binomtest(more, more + fewer, 0.5).pvalue if more else 1.0
    assert float(two_sided(more, fewer)) == pytest.approx(expected, rel=1e-9)
