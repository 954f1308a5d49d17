"""KS, MMD and classes against scipy, closed forms, and their own rates of false alarms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency, ks_2samp, kstest, kstwobign, ttest_ind

from martensite.serving.monitoring.drift.classes import chi_squared, label_shares, largest_change
from martensite.serving.monitoring.drift.ks import any_feature, ks
from martensite.serving.monitoring.drift.mmd import bandwidth, cross_mmd, squared_mmd


def rng(seed=0):
    return np.random.default_rng(seed)


class TestKs:
    @given(st.integers(0, 10_000), st.integers(5, 60), st.integers(5, 60), st.booleans())
    def test_as_scipy_has_it(self, seed, n, m, ties):
        chance = rng(seed)
        x, y = chance.normal(size=(n, 3)), chance.normal(0.3, 1, size=(m, 3))
        if ties:
            x, y = x.round(), y.round()
        distances, p = ks(np.sort(x, axis=0), y)
        for column in range(3):
            known = ks_2samp(x[:, column], y[:, column], method="asymp")
            assert distances[column] == pytest.approx(known.statistic)
            assert p[column] == pytest.approx(kstwobign.sf(math.sqrt(n * m / (n + m)) * known.statistic))

    @pytest.mark.parametrize("alpha", [0.05, 0.001])
    def test_false_alarms_of_many_features(self, alpha):
        """6000 pairs of samples: the rate at 5 % is known to +-0.6 %, at 0.1 % to +-0.08 %."""
        chance, rang, trials = rng(1), 0, 300
        for _ in range(trials):
            _, p = ks(np.sort(chance.normal(size=(400, 20)), axis=0), chance.normal(size=(200, 20)))
            rang += int((p <= alpha).sum())
        assert binomtest(rang, trials * 20, alpha, alternative="greater").pvalue > 0.001

    def test_bonferroni(self):
        assert any_feature(np.array([0.5, 0.01, 0.2])) == pytest.approx(0.03)
        assert any_feature(np.array([0.5, 0.6])) == 1.0


class TestMmd:
    def test_the_estimate_comes_to_the_closed_form(self):
        """Two normal distributions N(0, I) and N(a, I) in d dimensions, kernel exp(-|x - y|^2 / (2 s^2)).

        E k = (s^2 / (s^2 + 2))^(d / 2) exp(-|a|^2 / (2 (s^2 + 2))) between the two, the same without a within each.
        """
        d, s, a = 3, 1.5, np.array([1.0, 0.5, 0.0])
        scale = (s * s / (s * s + 2)) ** (d / 2)
        exact = 2 * scale * (1 - math.exp(-(a @ a) / (2 * (s * s + 2))))
        found = [squared_mmd(rng(seed).normal(size=(300, d)), rng(seed + 100).normal(size=(300, d)) + a, s) for seed in range(20)]
        assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / math.sqrt(len(found)))

    def test_without_drift_its_p_values_are_uniform(self):
        chance = rng(2)
        p = [cross_mmd(chance.normal(size=(200, 8)), chance.normal(size=(100, 8)), 3.0)[1] for _ in range(600)]
        assert kstest(p, "uniform").statistic < 0.08  # asymptotic: close to uniform, and not exactly

    @pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
    def test_false_alarms(self, alpha):
        """1000 windows: the rate at 5 % is known to +-1.4 %. A normal tail may be off by a quarter of it, no more."""
        chance, rang, trials = rng(3), 0, 1000
        x = chance.standard_t(5, size=(trials, 120, 4))
        for one in x:
            rang += cross_mmd(one[:80], one[80:], 2.5)[1] <= alpha
        assert binomtest(rang, trials, 1.25 * alpha, alternative="greater").pvalue > 0.001

    def test_small_windows_ring_no_more_often_than_twice_and_a_half_their_level(self):
        """Ten values a half: a normal tail rang six times too often at this level, and twenty times at a tenth of it."""
        chance, alpha, trials = rng(7), 0.001, 4000
        rang = sum(cross_mmd(chance.normal(size=(80, 4)), chance.normal(size=(20, 4)), 2.8)[1] <= alpha for _ in range(trials))
        assert binomtest(rang, trials, 2.5 * alpha, alternative="greater").pvalue > 0.001

    def test_its_p_value_is_scipys_of_the_witness(self):
        chance = rng(8)
        x, y = chance.normal(size=(60, 2)), 1.2 * chance.normal(size=(24, 2))

        def mean_kernel(a, b):
            return np.exp(-np.square(a[:, None] - b[None]).sum(2) / (2 * 1.7**2)).mean(1)

        on_x = mean_kernel(x[30:], x[:30]) - mean_kernel(x[30:], y[:12])
        on_y = mean_kernel(y[12:], x[:30]) - mean_kernel(y[12:], y[:12])
        known = ttest_ind(on_x, on_y, equal_var=False, alternative="greater")
        assert cross_mmd(x, y, 1.7) == pytest.approx((known.statistic, known.pvalue))

    def test_it_finds_what_no_mean_shows(self):
        chance = rng(4)
        x, wide = chance.normal(size=(400, 2)), 1.7 * chance.normal(size=(200, 2))
        assert cross_mmd(x, wide, bandwidth(x))[1] < 1e-4

    def test_the_bandwidth_is_the_median_distance(self):
        x = rng(5).normal(size=(30, 3))
        distances = [np.linalg.norm(a - b) for place, a in enumerate(x) for b in x[:place]]
        assert bandwidth(x) == pytest.approx(np.median(distances))


class TestClasses:
    def test_as_scipy_has_it(self):
        reference, window = np.array([100, 200, 50, 80]), np.array([30, 40, 25, 5])
        known = chi2_contingency([reference, window], correction=False)
        assert chi_squared(reference, window) == pytest.approx((known.statistic, known.pvalue))

    def test_rare_classes_are_taken_together(self):
        reference, window = np.array([500, 400, 3, 2, 1]), np.array([50, 40, 0, 1, 0])
        known = chi2_contingency([[500, 406], [50, 41]], correction=False)
        assert chi_squared(reference, window)[1] == pytest.approx(known.pvalue)

    def test_one_class_alone_says_nothing(self):
        assert chi_squared(np.array([900, 0]), np.array([90, 0])) == (0.0, 1.0)

    @pytest.mark.parametrize("alpha", [0.05, 0.001])
    def test_false_alarms(self, alpha):
        """1500 windows of ten unequal classes; the rate at 5 % is known to +-1.1 %."""
        chance, shares, trials = rng(6), rng(7).dirichlet(np.full(10, 1.0)), 1500
        references, windows = chance.multinomial(1000, shares, trials), chance.multinomial(200, shares, trials)
        rang = sum(chi_squared(a, b)[1] <= alpha for a, b in zip(references, windows, strict=True))
        assert binomtest(rang, trials, 1.3 * alpha, alternative="greater").pvalue > 0.001

    def test_label_shares_come_back_from_predictions(self):
        chance, k, n = rng(8), 4, 400_000
        confused = np.full((k, k), 0.05) + np.eye(k) * 0.8  # P(prediction | label)

        def predict(labels):
            return (confused[labels].cumsum(1) > chance.random(len(labels))[:, None] * confused[0].sum()).argmax(1)

        before, after = chance.integers(0, k, n), chance.choice(k, n, p=[0.5, 0.3, 0.15, 0.05])
        confusion = np.bincount(predict(before) * k + before, minlength=k * k).reshape(k, k)
        found = label_shares(confusion, np.bincount(predict(after), minlength=k))
        assert found == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.01)

    def test_a_confusion_that_tells_nothing_gives_no_shares(self):
        assert label_shares(np.ones((3, 3), dtype=np.int64), np.array([5, 3, 2])) is None

    def test_the_largest_change(self):
        assert largest_change(np.array([10, 10, 10]), np.array([1, 1, 4])) == 2
