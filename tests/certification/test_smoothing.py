"""Smoothing with a fixed number of samples against closed forms: bound, radius, error rate, and what the samples are."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from martensite.certification import ABSTAIN, CERTIFIERS, Smoothing, certify
from martensite.core.errors import ConfigError, DataError, ModelError
from martensite.models import Classifier

ALPHAS = (0.001, 0.05, 0.3)


def fixed(**options):
    """The published procedure: a selection sample, then one look."""
    return Smoothing(**{"test": "fixed", "n": 10_000, "selection": 100, **options})


# the bound, without a model


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 2, 10, 100, 1000])
def test_the_bound_is_where_the_binomial_tail_is_alpha(n, alpha):
    method = fixed(sigma=0.5, alpha=alpha)
    for count in sorted({0, 1, n // 2, (6 * n) // 10, (9 * n) // 10, n - 1, n}):
        radius = method.radius(count, n)
        if radius > 0:
            p = norm.cdf(radius / 0.5)
            assert binom.sf(count - 1, n, p) == pytest.approx(alpha, rel=1e-6)
        else:
            assert binom.sf(count - 1, n, 0.5) >= alpha * (1 - 1e-9)  # p = 1/2 can't be ruled out


@pytest.mark.parametrize("alpha", ALPHAS)
def test_all_samples_agreeing_have_a_closed_form(alpha):
    method = fixed(sigma=0.25, alpha=alpha)
    for n in (10, 100, 10_000):
        assert method.radius(n, n) == pytest.approx(0.25 * norm.ppf(alpha ** (1 / n)), rel=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [5, 40, 200])
def test_the_bound_is_wrong_with_probability_at_most_alpha(n, alpha):
    """Exact, not sampled: over the binomial distribution of the count, for a grid of true probabilities."""
    method = fixed(sigma=1.0, alpha=alpha)
    claimed = [method.radius(count, n) for count in range(n + 1)]
    for p in torch.linspace(0.02, 0.98, 49, dtype=torch.float64).tolist():
        wrong = [count for count in range(n + 1) if claimed[count] > max(norm.ppf(p), 0.0)]
        assert binom.pmf(wrong, n, p).sum() <= alpha * (1 + 1e-9)


@given(n=st.integers(2, 2000), share=st.floats(0, 1), alpha=st.sampled_from(ALPHAS), sigma=st.floats(0.01, 10))
@settings(max_examples=60, deadline=None)
def test_more_agreement_is_never_a_shorter_radius(n, share, alpha, sigma):
    method, count = fixed(sigma=sigma, alpha=alpha), int(share * (n - 1))
    assert 0 <= method.radius(count, n) <= method.radius(count + 1, n) < math.inf


def test_the_published_example():
    """Cohen et al. 2019, sec. 4: n = 100,000 and alpha = 0.001 certify at most 3.8 sigma."""
    assert fixed(sigma=1.0).radius(100_000, 100_000) == pytest.approx(3.8, abs=0.02)


# the least n


@given(sigma=st.floats(0.05, 5), alpha=st.floats(1e-6, 0.5), ratio=st.floats(0.0, 4.0))
@settings(max_examples=80, deadline=None)
def test_the_least_n_is_the_least(sigma, alpha, ratio):
    method, radius = fixed(sigma=sigma, alpha=alpha), ratio * sigma
    n = method.least_n(radius)
    assert method.radius(n, n) >= radius
    assert method.radius(n, n) > 0
    if n > 1:
        assert method.radius(n - 1, n - 1) < radius or method.radius(n - 1, n - 1) == 0


@pytest.mark.parametrize(("alpha", "n"), [(0.5, 2), (0.25, 3), (0.125, 4), (0.1, 4), (0.05, 5), (0.001, 10)])
def test_the_least_n_by_hand(alpha, n):
    assert fixed(sigma=1.0, alpha=alpha).least_n(0.0) == n  # alpha ** (1 / n) > 1/2


@pytest.mark.parametrize("n", [10, 57, 1000])
def test_the_least_n_for_the_longest_radius_of_n_is_n(n):
    method = fixed(sigma=0.25)
    assert method.least_n(method.radius(n, n)) == n


@pytest.mark.parametrize("radius", [None, 0.25, 0.4])
def test_too_few_samples_are_refused_with_the_least_number(radius, tools):
    model, x, y = tools.linear(), torch.full((1, 5), 0.9), torch.tensor([0])
    enough = fixed(sigma=0.2).least_n(radius or 0.0)
    with pytest.raises(ConfigError, match="give n of at least") as raised:
        certify(model, x, y, fixed(sigma=0.2, n=enough - 1), radius=radius)
    assert int(re.findall(r"at least (\d+)", str(raised.value))[0]) == enough
    certify(model, x, y, fixed(sigma=0.2, n=enough), radius=radius)


def test_a_radius_of_many_sigmas_is_refused_without_a_number(tools):
    for radius in (0.7, 1.0, 50.0, 1e300):
        with pytest.raises(ConfigError, match="larger sigma"):
            certify(tools.linear(), tools.inputs(1), torch.tensor([0]), fixed(sigma=0.1), radius=radius)


# certificates of a linear model, where the true radius is the distance to the boundary


def test_certificates_exceed_the_true_radius_no_oftener_than_alpha(tools):
    """1,500 inputs, n = 60, alpha = 0.1: the number of wrong certificates is at most Binomial(1500, 0.1)."""
    model, alpha, n = tools.linear(), 0.1, 1500
    distances = torch.linspace(-0.4, 0.4, n, dtype=torch.float64)
    x = tools.at_distance(model, distances)
    true = tools.true_radius(model, x)
    certs = certify(model, x, torch.zeros(n, dtype=torch.int64), fixed(sigma=0.25, n=60, selection=20, alpha=alpha), seed=1)
    of_class = torch.where(certs.prediction == 0, true, -true)  # negative: the other class wins
    wrong = int(((certs.radius > of_class) & ~certs.abstained).sum())
    assert wrong <= binom.ppf(1 - 1e-6, n, alpha)
    assert wrong >= binom.ppf(1e-6, n, alpha / 4)  # the bound is a bound, not a retreat


def test_certificates_approach_the_true_radius(tools):
    model = tools.linear()
    true = torch.linspace(0.05, 0.4, 12, dtype=torch.float64)
    x, y = tools.at_distance(model, true), torch.zeros(12, dtype=torch.int64)
    gaps = []
    for n in (100, 1000, 10_000):
        certs = certify(model, x, y, fixed(sigma=0.25, n=n), seed=3)
        assert (certs.radius <= true).all()
        gaps.append(float((true - certs.radius).mean()))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert gaps[2] < 0.02


def test_on_the_boundary_it_abstains(tools):
    """100 inputs at distance 0, alpha 0.001: more than 3 certificates have a chance below 1e-5."""
    model = tools.linear()
    x = tools.at_distance(model, torch.zeros(100))
    certs = certify(model, x, torch.zeros(100, dtype=torch.int64), fixed(sigma=0.25, n=500), seed=0)
    assert certs.abstained.sum() >= 97
    assert (certs.prediction[certs.abstained] == ABSTAIN).all()
    assert (certs.radius[certs.abstained] == 0).all()
    assert not certs.correct[certs.abstained].any()


def test_the_class_is_chosen_on_samples_of_its_own(tools):
    """At distance 0 and alpha 0.2, 1,000 inputs: chosen on the estimate's own samples, about 40 % would be certified."""
    model, alpha, n = tools.linear(), 0.2, 1000
    x = tools.at_distance(model, torch.zeros(n))
    certs = certify(model, x, torch.zeros(n, dtype=torch.int64), fixed(sigma=0.25, n=101, selection=101, alpha=alpha))
    assert (~certs.abstained).sum() <= binom.ppf(1 - 1e-6, n, alpha)


def test_both_classes_are_certified_and_only_the_right_one_counts(tools):
    model = tools.linear()
    x = tools.at_distance(model, torch.tensor([0.3, -0.3]))
    for y, correct in ((torch.tensor([0, 1]), [True, True]), (torch.tensor([1, 1]), [False, True])):
        certs = certify(model, x, y, fixed(sigma=0.25, n=200))
        assert certs.prediction.tolist() == [0, 1]
        assert certs.correct.tolist() == correct
        assert certs.certified(0.1).tolist() == correct
        assert not certs.certified(0.5).any()


# the samples


@pytest.mark.parametrize("options", [{}, {"mean": 0.3, "std": 0.1}], ids=["plain", "normalised"])
def test_the_noise_is_gaussian_in_input_units_and_no_copy_is_used_twice(options, tools):
    model, sigma, n = tools.linear(record=True, **options), 0.4, 2500
    x = tools.inputs(3)
    certs = certify(model, x, torch.zeros(3, dtype=torch.int64), fixed(sigma=sigma, n=n, selection=150))
    shown = torch.cat(model.net.shown[2:])  # the first two batches are a check of the model
    assert len(shown) == certs.samples.sum() == 3 * (n + 150)
    if options:
        shown = shown * 0.1 + 0.3
    parts = [shown[: 3 * 150].view(3, 150, 5), shown[3 * 150 :].view(3, n, 5)]
    flat = torch.cat([((part - x[:, None]) / sigma).reshape(-1, 5) for part in parts])
    assert len(flat.unique(dim=0)) == len(flat)
    draws = flat.numel()
    assert abs(flat.mean()) < 5 / math.sqrt(draws)
    assert abs(flat.var() - 1) < 5 * math.sqrt(2 / draws)
    assert abs((flat.abs() < 1).double().mean() - 0.6827) < 5 * 0.47 / math.sqrt(draws)


def test_the_choice_of_class_does_not_depend_on_n_nor_the_estimate_on_the_selection(tools):
    def shown(**options):
        model = tools.linear(record=True)
        certify(model, tools.inputs(1), torch.tensor([0]), fixed(sigma=0.4, **options))
        whole, selected = torch.cat(model.net.shown[2:]), options.get("selection", 100)
        return whole[:selected], whole[selected:]

    first, longer, wider = shown(n=1000), shown(n=2000), shown(n=1000, selection=200)
    assert torch.equal(first[0], longer[0])
    assert torch.equal(first[1][:960], longer[1][:960])  # whole blocks
    assert torch.equal(first[1], wider[1])
    assert torch.equal(first[0][:64], wider[0][:64])
    assert not torch.equal(first[0][:64], first[1][:64])


def test_a_sample_is_certified_alike_alone_in_company_and_in_any_order(tools):
    model, x, y = tools.linear(), tools.inputs(12), torch.zeros(12, dtype=torch.int64)
    method = fixed(sigma=0.25, n=300)
    whole = certify(model, x, y, method, seed=5)
    for places in (torch.tensor([7]), torch.tensor([11, 0, 3]), torch.arange(12).flip(0)):
        certs = certify(model, x[places], y[places], method, seed=5, indices=places)
        assert torch.equal(certs.radius, whole.radius[places])
        assert torch.equal(certs.prediction, whole.prediction[places])
    alone, many = (tools.linear(record=True) for _ in range(2))
    certify(alone, x[7:8], y[7:8], method, seed=5, indices=torch.tensor([7]))
    certify(many, x, y, method, seed=5)
    one, all_ = torch.cat(alone.net.shown[2:]), torch.cat(many.net.shown[2:])
    assert torch.equal(one[:100], all_[7 * 100 : 8 * 100])
    assert torch.equal(one[100:], all_[12 * 100 :][7 * 300 : 8 * 300])
    shifted = certify(model, x, y, method, seed=5, indices=torch.arange(12) + 100)
    assert not torch.equal(shifted.radius, whole.radius)


def test_a_seed_decides_and_the_global_stream_does_not(tools):
    model, x, y, method = tools.linear(), tools.inputs(12), torch.zeros(12, dtype=torch.int64), fixed(sigma=0.25, n=300)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = certify(model, x, y, method).radius
        before = torch.get_rng_state()
        assert torch.equal(certify(model, x, y, method).radius, first)
        assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(certify(model, x, y, method, seed=1).radius, first)


# one radius


def test_a_given_radius_is_certified_where_the_longest_one_reaches_it(tools):
    model, radius = tools.linear(), 0.2
    x, y = tools.at_distance(model, torch.linspace(-0.4, 0.4, 41)), torch.zeros(41, dtype=torch.int64)
    method = fixed(sigma=0.25, n=400)
    longest, given_radius = certify(model, x, y, method), certify(model, x, y, method, radius=radius)
    reached = longest.radius >= radius
    assert 5 < reached.sum() < 36
    assert torch.equal(given_radius.radius, reached.double() * radius)
    assert torch.equal(given_radius.abstained, ~reached)
    assert torch.equal(given_radius.prediction[reached], longest.prediction[reached])
    assert torch.equal(given_radius.certified(radius), reached & longest.correct)


@pytest.mark.parametrize("radius", [0.0, -0.1, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused(radius, tools):
    with pytest.raises(ConfigError, match="radius is"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), fixed(sigma=0.25), radius=radius)


# bad input


@pytest.mark.parametrize(
    "wrong",
    [
        *({"sigma": value} for value in (0.0, -0.1, math.nan, math.inf)),
        *({"alpha": value} for value in (0.0, 1.0, -1.0)),
        *({"n": value} for value in (0, 10.5)),
        {"selection": -1},
        {"samples": 5},
    ],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        fixed(**{"sigma": 0.25, **wrong})
    with pytest.raises(ConfigError, match="sigma"):
        Smoothing()


def test_it_is_rebuilt_from_its_record():
    method = fixed(sigma=0.25, n=123, alpha=0.01)
    assert CERTIFIERS.build(method.model_dump(mode="json")) == method
    assert CERTIFIERS.build({"kind": "smoothing", "sigma": "1/4"}) == Smoothing(sigma=0.25)


def test_nan_logits_are_refused(tools):
    class Sometimes(torch.nn.Module):
        def forward(self, x):
            # The mean of the noise is small: only a few noisy copies have an odd one out.
            return torch.where((x[:, :2] > 1.4).any(1, keepdim=True), math.nan, x[:, :2])

    with pytest.raises(ModelError, match="NaN"):
        certify(Classifier(Sometimes(), 2), tools.inputs(4), torch.zeros(4, dtype=torch.int64), fixed(sigma=0.25, n=500))


def test_inputs_and_labels_out_of_range_are_refused(tools):
    model, method = tools.linear(), fixed(sigma=0.25)
    for x, y in (
        (tools.inputs(2) * 2, torch.tensor([0, 1])),
        (tools.inputs(2) * math.nan, torch.tensor([0, 1])),
        (tools.inputs(0), torch.zeros(0, dtype=torch.int64)),
        (tools.inputs(2), torch.tensor([0, 2])),
        (tools.inputs(2), torch.tensor([0])),
        (tools.inputs(2), torch.tensor([0.0, 1.0])),
    ):
        with pytest.raises(DataError):
            certify(model, x, y, method)


@pytest.mark.parametrize("places", [torch.tensor([0]), torch.arange(3), torch.zeros(2, 1, dtype=torch.int64)])
def test_there_is_one_index_a_sample(places, tools):
    with pytest.raises(DataError, match="indices"):
        certify(tools.linear(), tools.inputs(2), torch.tensor([0, 1]), fixed(sigma=0.25, n=50), indices=places)
