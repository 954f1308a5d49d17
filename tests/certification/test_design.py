"""Sequential designs: the error they spend, against enumeration, exact rationals, high precision and simulation."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.stats import binom, norm

from martensite.certification import Ablation, Smoothing, UniformSmoothing
from martensite.certification.anytime import anytime_design, log_capital
from martensite.certification.binomial import binomial
from martensite.certification.design import false_rejection, fixed_design, looks, sequential_design, spend
from martensite.certification.plan import Course, Plan

mpmath.mp.dps = 60
SIZES = (40, 500, 10_000, 100_000)


# the binomial distribution, rounded outward


@pytest.mark.parametrize(
    ("n", "q"), [(1, 0.3), (7, 0.5), (60, 0.16), (1000, 0.0013), (26_000, 0.16), (26_000, 3e-5), (10**6, 0.4)]
)
def test_binomial_bounds_are_above_the_probabilities_and_close(n, q):
    window, exact_q = binomial(n, q), mpmath.mpf(q)
    places = sorted({*range(0, len(window.mass), max(1, len(window.mass) // 40)), len(window.mass) - 1})
    for place in places:
        f = window.first + place
        exact = mpmath.binomial(n, f) * exact_q**f * (1 - exact_q) ** (n - f)
        assert mpmath.mpf(float(window.mass[place])) >= exact
        assert float(mpmath.mpf(float(window.mass[place])) / exact) < 1 + 1e-10
    last = window.first + len(window.mass) - 1
    tails = binom.cdf(window.first - 1, n, q) + binom.sf(last, n, q)
    assert tails * 0.999 <= window.outside < 1e-20


# against brute force


def enumerated(q, places, reject):
    """Exact probability that the misses are ever within the thresholds: all 2^n paths, in rationals."""
    n, q, total = places[-1], Fraction(q), Fraction(0)
    for path in itertools.product((0, 1), repeat=n):
        counts = np.cumsum(path)
        if any(counts[place - 1] <= most for place, most in zip(places, reject, strict=True)):
            misses = int(counts[-1])
            total += q**misses * (1 - q) ** (n - misses)
    return total


@pytest.mark.parametrize("q", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("places", [(3, 5, 8, 11), (2, 12), (6,), (1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_thresholds_are_the_largest_within_their_budgets(q, places, alpha):
    budgets = [alpha * (0.3 * (k + 1) / len(places)) for k in range(len(places) - 1)] + [alpha]
    reject, spent = spend(q, places, budgets)
    for k in range(len(places)):
        assert enumerated(q, places[: k + 1], reject[: k + 1]) <= Fraction(budgets[k])
        larger = [*reject[:k], reject[k] + 1]
        assert reject[k] == places[k] or enumerated(q, places[: k + 1], larger) > Fraction(budgets[k]) * (1 - Fraction(1, 10**9))
    exact = enumerated(q, places, reject)
    assert exact <= Fraction(spent) <= exact * (1 + Fraction(1, 10**9)) + Fraction(1, 10**25)


def rational(q, places, reject):
    """Exact probability of a rejection, by a dynamic programme in rationals."""
    q, state, spent, seen = Fraction(q), {0: Fraction(1)}, Fraction(0), 0
    for place, most in zip(places, reject, strict=True):
        for _ in range(place - seen):
            moved = {}
            for misses, p in state.items():
                moved[misses] = moved.get(misses, 0) + p * (1 - q)
                moved[misses + 1] = moved.get(misses + 1, 0) + p * q
            state = moved
        seen = place
        spent += sum((p for misses, p in state.items() if misses <= most), Fraction(0))
        state = {misses: p for misses, p in state.items() if misses > most}
    return spent


@pytest.mark.parametrize(("q", "alpha"), [(0.15625, 0.001), (0.0625, 0.001), (0.375, 0.05)])
def test_the_spent_error_is_exact_and_never_below_the_truth(q, alpha):
    """n = 150 in rational arithmetic (q is a binary fraction, so that both compute with one number)."""
    design = sequential_design(q, alpha, 150)
    exact = rational(q, design.looks, design.reject)
    assert exact <= Fraction(design.spent) <= Fraction(alpha)
    assert float(Fraction(design.spent) / exact) < 1 + 1e-10


# every shipped design


def shipped():
    """The miss rates that the methods test by default, for an MNIST image."""
    shape = (1, 28, 28)
    methods = [
        Smoothing(sigma=0.25),
        Smoothing(sigma=0.25, norm="linf"),
        Smoothing(sigma=0.25, quantised=True),
        UniformSmoothing(width=0.5),
        Ablation(keep=45),
    ]
    return sorted({m.miss_rate(radius, shape) for m in methods for radius in m.grid(shape)} | {1e-4, 3e-5})


@pytest.mark.parametrize("alpha", [0.001, 0.05])
@pytest.mark.parametrize("n", SIZES)
def test_no_shipped_design_errs_more_than_alpha_at_the_boundary(n, alpha):
    """Exact computation at p = p*, and a second one of the finished thresholds."""
    for q in shipped():
        for design in (sequential_design(q, alpha, n), fixed_design(q, alpha, n)):
            assert design.spent <= alpha
            assert false_rejection(q, design.looks, design.reject) == pytest.approx(design.spent, rel=1e-12)
            assert design.looks[-1] == n
    useful = [sequential_design(q, alpha, n).spent for q in shipped() if n * q > 200]
    assert all(spent > 0.8 * alpha for spent in useful)  # the bound is a bound, not a retreat


@pytest.mark.parametrize("n", SIZES)
def test_no_anytime_design_errs_more_than_alpha(n):
    for q in shipped():
        design = anytime_design(q, 0.01, n)
        assert false_rejection(q, design.looks, design.reject) <= 0.01
    assert false_rejection(0.1587, looks(100_000), anytime_design(0.1587, 0.01, 100_000).reject) > 0.001


def test_a_larger_miss_rate_errs_less():
    design = sequential_design(0.1, 0.01, 5000)
    errors = [false_rejection(q, design.looks, design.reject) for q in (0.1, 0.101, 0.11, 0.15, 0.3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.01 > errors[0] * 0.99


# simulation


def simulate(rates, designs, rng):
    """Levels reached and samples spent by inputs of these miss rates: the rules once more, written for whole arrays."""
    reject, futile = (np.array([getattr(design, name) for design in designs]) for name in ("reject", "futile"))
    misses, level, spent = (np.zeros(len(rates), dtype=np.int64) for _ in range(3))
    rejected = np.zeros((len(rates), len(designs)), dtype=bool)
    active, seen = np.arange(len(rates)), 0
    for k, place in enumerate(designs[0].looks):
        misses[active] += rng.binomial(place - seen, rates[active])
        spent[active], seen = place, place
        rejected[active] |= misses[active, None] <= reject[None, :, k]
        level[active] = np.cumprod(rejected[active], axis=1).sum(1)
        next_radius = np.minimum(level[active], len(designs) - 1)
        active = active[(level[active] < len(designs)) & (misses[active] < futile[next_radius, k])]
    return level, spent


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0, 3.0])
def test_two_hundred_thousand_images_at_the_boundary(z):
    """At p = p* and alpha = 0.001, more false certificates than the 1 - 1e-6 quantile of the binomial: chance 1e-6."""
    n, design = 200_000, sequential_design(float(norm.sf(z)), 0.001, 100_000)
    level, _ = simulate(np.full(n, design.q), [design], np.random.default_rng(int(10 * z)))
    assert (level > 0).sum() <= binom.ppf(1 - 1e-6, n, 0.001)


def test_a_curve_of_nested_radii_errs_no_more_than_one_radius():
    """200,000 images at the boundary of one radius of 12, four times; a sound method fails with chance 8e-6."""
    n, zs = 200_000, np.arange(1, 13) / 4
    designs = [sequential_design(float(norm.sf(z)), 0.001, 20_000) for z in zs]
    for place in (0, 3, 7, 11):
        level, _ = simulate(np.full(n, designs[place].q), designs, np.random.default_rng(place))
        assert (level > place).sum() <= binom.ppf(1 - 2e-6, n, 0.001)


def test_a_course_is_what_was_simulated():
    designs = [sequential_design(float(norm.sf(z)), 0.01, 3000) for z in (0.5, 1.0, 1.5, 2.0)]
    plan, rng, levels = Plan(designs, 3000), np.random.default_rng(5), set()
    for rate in rng.uniform(0, 0.4, 400):
        path, course = rng.random(3000) < rate, Course(plan)
        while not course.done:
            course.see(int(path[: course.next].sum()))
        seen = plan.looks[: course.look]
        crossed = [any(path[:p].sum() <= d.reject[k] for k, p in enumerate(seen)) for d in designs]
        assert course.level == ([*crossed, False]).index(False)
        levels.add(course.level)
    assert levels == {0, 1, 2, 3, 4}


def test_a_rejection_stays_though_the_count_drifts_back():
    design = sequential_design(0.3, 0.05, 1000)
    course = Course(Plan([design, sequential_design(0.29, 0.05, 1000)], 1000))
    place = next(k for k, most in enumerate(design.reject) if most >= 0)
    for k in range(place):
        course.see(max(design.reject[k], -1) + 1)
    course.see(design.reject[place])
    level = course.level
    assert level >= 1
    while not course.done:
        course.see(course.next // 3)
    assert course.level == level


# what it is for


def test_it_gives_up_little_and_saves_much():
    """On miss rates like a noise-trained CIFAR-10 model's: 100,000 images; standard error of the difference below 0.02 points."""
    rng, n = np.random.default_rng(0), 100_000
    rates = np.where(rng.random(n) < 0.77, norm.sf(rng.normal(1.7, 1.5, n)), rng.beta(5, 2, n))
    design = sequential_design(float(norm.sf(1.0)), 0.001, 100_000)
    level, spent = simulate(rates, [design], rng)
    most = fixed_design(design.q, 0.001, 100_000).reject[0]
    assert binom.cdf(most, 100_000, rates).mean() - (level > 0).mean() < 0.001
    assert 100_000 / spent.mean() > 80


@pytest.mark.parametrize("q", [0.4, 0.1587, 0.0228, 0.00135])
def test_the_fixed_threshold_is_clopper_pearsons(q):
    for n in (50, 1000, 100_000):
        most = fixed_design(q, 0.001, n).reject[0]
        assert most < 0 or binom.cdf(most, n, q) <= 0.001
        assert binom.cdf(most + 1, n, q) > 0.001


@pytest.mark.parametrize("n", [1, 20, 32, 33, 50, 1000, 99_999, 100_000, 10**6])
def test_looks_rise_geometrically_to_n(n):
    places = looks(n)
    assert places[-1] == n
    assert list(places) == sorted(set(places))
    assert all(b / a < 1.35**1.5 + 0.02 for a, b in itertools.pairwise(places))
    assert len(places) <= max(2, math.log(max(n, 32) / 32) / math.log(1.35) + 2)
    assert looks(100_000)[:3] == (32, 43, 58)
    assert len(looks(100_000)) in (27, 28)


@pytest.mark.parametrize(("n", "f", "q"), [(10, 0, 0.3), (50, 3, 0.2), (400, 11, 0.05)])
def test_the_capital_is_the_integral(n, f, q):
    m, half = mpmath.mpf(q), mpmath.mpf(1) / 2
    won = mpmath.quad(lambda r: r ** (f - half) * (1 - r) ** (n - f - half), [0, m / 8, m])
    prior = mpmath.quad(lambda r: r**-half * (1 - r) ** -half, [0, m / 8, m])
    exact = mpmath.log(won / prior) - f * mpmath.log(m) - (n - f) * mpmath.log(1 - m)
    assert log_capital(n, f, q) == pytest.approx(float(exact), abs=1e-6)


def test_anytime_thresholds_do_not_depend_on_n():
    short, long = anytime_design(0.1, 0.01, 500), anytime_design(0.1, 0.01, 50_000)
    shared = [k for k, place in enumerate(short.looks) if place in long.looks]
    assert len(shared) >= 8
    assert all(short.reject[k] == long.reject[long.looks.index(short.looks[k])] for k in shared)
