"""The tests that never end: what they promise without drift, and that they find one."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binomtest, kstest

from martensite.serving.monitoring.drift.bag import Bag
from martensite.serving.monitoring.drift.bets import BOTH, KAPPAS, LOW, log_bets
from martensite.serving.monitoring.drift.cusum import Cusum
from martensite.serving.monitoring.drift.evidence import Evidence
from martensite.serving.monitoring.drift.spending import level


def rng(seed=0):
    return np.random.default_rng(seed)


def plain_bag(grid, reference, scores, chance):
    """Smoothed conformal p-values as Vovk et al. define them, with every score ever seen; scores in one bin are equal."""
    edges = np.unique(grid)

    def bins(s):
        return edges.searchsorted(s, "left") + edges.searchsorted(s, "right")

    seen, found = list(bins(np.asarray(reference))), []
    for score, u in zip(bins(np.asarray(scores)), chance, strict=True):
        seen.append(score)
        all_of_them = np.array(seen)
        found.append(((all_of_them > score).sum() + u * (all_of_them == score).sum()) / len(seen))
    return np.array(found)


class TestBag:
    @pytest.mark.parametrize("kind", ["smooth", "ties"])
    def test_p_values_are_the_definition(self, kind):
        chance = rng(3)
        draw = (lambda n: chance.normal(size=n)) if kind == "smooth" else (lambda n: chance.integers(0, 4, n).astype(float))
        grid, reference, scores = draw(30), draw(40), draw(700)
        found = Bag(grid, reference, rng(7)).p_values(scores)
        # The same draws, in the same parts.
        source = rng(7)
        u = np.concatenate([1.0 - source.random(len(scores[start : start + 256])) for start in range(0, 700, 256)])
        assert found == pytest.approx(plain_bag(grid, reference, scores, u), abs=1e-12)

    def test_parts_do_not_matter(self):
        scores = rng(1).normal(size=300)
        whole, parts = Bag(scores[:50], scores[50:100], rng(2)), Bag(scores[:50], scores[50:100], rng(2))
        one = whole.p_values(scores[100:200])
        other = np.concatenate([parts.p_values(scores[100:130]), parts.p_values(scores[130:200])])
        assert one == pytest.approx(other)

    def test_without_drift_they_are_uniform_and_independent_even_after_a_hundred_references(self):
        # A reference of 50 and a stream of 5000: p-values against the reference alone would be far from uniform by now.
        chance = rng(5)
        p = np.array([Bag(chance.normal(size=25), chance.normal(size=25), chance).p_values(chance.normal(size=5000))
                      for _ in range(10)])  # fmt: skip
        assert kstest(p.ravel(), "uniform").pvalue > 0.001
        assert kstest(p[:, -1000:].ravel(), "uniform").pvalue > 0.001
        lag = np.corrcoef(p[:, :-1].ravel(), p[:, 1:].ravel())[0, 1]
        assert abs(lag) < 4 / math.sqrt(p.size)

    def test_memory_does_not_grow(self):
        bag = Bag(rng().normal(size=100), rng(1).normal(size=100), rng(2))
        before = bag._counts.nbytes
        bag.p_values(rng(3).normal(size=20_000))
        assert bag._counts.nbytes == before
        assert bag.n == 20_100


class TestBets:
    @pytest.mark.parametrize("bets", [LOW, BOTH])
    def test_every_bet_is_fair(self, bets):
        # In q = p^kappa the integrand has no pole: p = q^(1/kappa).
        for place in range(bets):
            kappa = float(KAPPAS[place % len(KAPPAS)])

            def stake(q, place=place, kappa=kappa):
                end = q ** (1 / kappa)
                p = np.array([end if place < len(KAPPAS) else 1.0 - end])
                return math.exp(log_bets(p, bets)[0, place]) * q ** (1 / kappa - 1) / kappa

            value, _ = quad(stake, 1e-3, 1.0, limit=200)
            # 1 but for the little that lies below 1e-3, which is at most 1e-3 itself.
            assert value == pytest.approx(1.0, abs=2e-3)


def slow_evidence(p, bets):
    """The definition: every starting time's capital, one by one."""
    factors = np.exp(log_bets(p, bets))
    path = []
    for t in range(1, len(p) + 1):
        capital = sum(factors[j - 1 : t].prod(0).mean() / (j * (j + 1)) for j in range(1, t + 1))
        path.append(math.log(capital + 1 / (t + 1)))
    return path


class TestEvidence:
    @pytest.mark.parametrize("bets", [LOW, BOTH])
    def test_it_is_the_sum_over_all_starting_times(self, bets):
        p = rng(4).beta(0.7, 1.2, size=60)
        expected = slow_evidence(p, bets)
        evidence = Evidence(bets)
        highest = [evidence.add(p[start : start + 7]) for start in range(0, 60, 7)]
        assert evidence.log_e == pytest.approx(expected[-1])
        assert evidence.highest == pytest.approx(max(0.0, *expected))
        assert highest[2] == pytest.approx(max(expected[14:21]))

    def test_without_drift_it_rings_at_most_as_often_as_stated_however_long(self):
        """Ville: of 1000 streams of 1000 samples each at most 5 % ever reach 20; the rate is known to +-1.4 %."""
        alpha, streams = 0.05, 1000
        chance, rang = rng(11), 0
        for _ in range(streams):
            rang += Evidence(BOTH).add(chance.random(1000)) >= math.log(1 / alpha)
        assert binomtest(rang, streams, alpha, alternative="greater").pvalue > 0.001

    def test_the_mean_capital_is_one(self):
        # Of a bounded time, or the mean would hang on few lucky streams.
        chance = rng(12)
        final = []
        for _ in range(5000):
            evidence = Evidence(LOW)
            evidence.add(chance.random(5))
            final.append(math.exp(evidence.log_e))
        assert np.mean(final) == pytest.approx(1.0, abs=4 * np.std(final) / math.sqrt(len(final)))

    @pytest.mark.parametrize("before", [0, 1000, 100_000])
    def test_a_change_is_found_however_late_it_comes(self, before):
        chance, evidence = rng(13), Evidence(BOTH)
        evidence.add(chance.random(before))
        assert evidence.highest < math.log(100)
        evidence.add(chance.beta(0.4, 1.0, size=400))
        assert evidence.highest >= math.log(100)


def slow_cusum(p, bets, threshold):
    """Page's recursion, sample by sample."""
    c, alarms = np.ones(bets), []
    for place, row in enumerate(np.exp(log_bets(p, bets))):
        c = np.maximum(c, 1.0) * row
        if math.log(c.mean()) >= threshold:
            alarms.append(place)
            c = np.ones(bets)
    return alarms, math.log(c.mean())


class TestCusum:
    def test_it_is_pages_recursion(self):
        chance = rng(20)
        p = np.concatenate([chance.random(300), chance.beta(0.3, 1, size=200), chance.random(300)])
        cusum = Cusum(BOTH, 1000.0)
        for start in range(0, len(p), 37):
            cusum.add(p[start : start + 37])
        alarms, log_c = slow_cusum(p, BOTH, math.log(1000.0))
        assert (cusum.alarms, cusum.log_c) == (len(alarms), pytest.approx(log_c))
        assert len(alarms) > 3

    def test_between_two_false_alarms_lie_at_least_as_many_samples_as_stated(self):
        """100,000 samples without drift, c = 500: at most 200 alarms are expected; Poisson's error is +-28 (2 sigma)."""
        chance, cusum = rng(21), Cusum(BOTH, 500.0)
        for _ in range(100):
            cusum.add(chance.random(1000))
        assert 0 < cusum.alarms <= 200 + 28

    def test_it_forgets(self):
        chance, cusum = rng(22), Cusum(BOTH, 1e6)
        cusum.add(chance.random(100_000))
        assert cusum.add(chance.beta(0.3, 1.0, size=60))


class TestLevels:
    def test_all_windows_together_spend_alpha(self):
        assert sum(level(0.01, k) for k in range(1, 100_001)) == pytest.approx(0.01 * (1 - 1 / 100_001))
