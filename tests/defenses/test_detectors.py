"""Detectors against other libraries and closed forms; conformal p-values against their guarantee."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import binom
from sklearn.neighbors import NearestNeighbors as Neighbours
from torch import nn

from martensite.attacks import PGD, attack
from martensite.core.errors import ConfigError, DataError, ModelError
from martensite.defenses import (
    BitDepth,
    Defence,
    Energy,
    IntrinsicDimension,
    Learned,
    Mahalanobis,
    Median,
    NearestNeighbours,
    Panel,
    Squeezing,
    defend,
    holm,
)
from martensite.defenses.conformal import needed, p_values, threshold
from martensite.defenses.detector import Fitted
from martensite.defenses.features import Penultimate, gathered
from martensite.defenses.nearest_neighbours import distances
from martensite.evaluation import holm as one_row
from martensite.models import Classifier, build
from martensite.threat import ThreatModel


def test_energy_is_the_logarithm_of_the_partition_function(model, digits):
    x = digits.test.x[:30]
    with torch.no_grad():
        logits = model(x).double().numpy()
    score = Energy(temperature=2.0).fit(model, x, digits.test.y[:30]).score(x)
    np.testing.assert_allclose(score, -2.0 * logsumexp(logits / 2.0, axis=1), rtol=1e-6)


def test_mahalanobis_is_scipys(model, digits):
    x, y = digits.held.x, digits.held.y
    detector = Mahalanobis(ridge=0.01).fit(model, x, y)
    features = gathered(model, x).double().numpy()
    means = np.stack([features[y.numpy() == label].mean(0) for label in range(10)])
    centred = features - means[y.numpy()]
    covariance = centred.T @ centred / len(centred)
    covariance += 0.01 * np.diag(covariance).mean() * np.eye(len(covariance))
    seen = gathered(model, digits.test.x[:40]).double().numpy()
    expected = cdist(seen, means, "mahalanobis", VI=np.linalg.inv(covariance)).min(1) ** 2
    np.testing.assert_allclose(detector.score(digits.test.x[:40]), expected, rtol=1e-3)


def test_nearest_neighbours_are_scikit_learns(model, digits):
    detector = NearestNeighbours(k=7).fit(model, digits.held.x, digits.held.y)
    normed = [gathered(model, x).double() for x in (digits.held.x, digits.test.x[:50])]
    reference, seen = ((one / one.norm(dim=1, keepdim=True)).numpy() for one in normed)
    far, _ = Neighbours(n_neighbors=7).fit(reference).kneighbors(seen)
    np.testing.assert_allclose(detector.score(digits.test.x[:50]), far[:, -1], rtol=1e-4, atol=1e-5)


def test_the_intrinsic_dimension_is_its_closed_form(model, digits):
    detector = IntrinsicDimension(k=9).fit(model, digits.held.x, digits.held.y)
    far = np.sort(cdist(gathered(model, digits.test.x[:30]).double(), gathered(model, digits.held.x).double()), 1)[:, :9]
    expected = -1.0 / np.log(far / far[:, -1:]).mean(1)
    np.testing.assert_allclose(detector.score(digits.test.x[:30]), expected, rtol=1e-2)


@pytest.mark.parametrize("d", [2, 5, 10])
def test_in_a_space_of_d_dimensions_the_estimate_is_about_d(d):
    """The k nearest of uniform points: -k / sum log(r_i / r_k) has mean d k / (k - 2) or so."""
    chance = torch.Generator().manual_seed(0)
    reference, seen = torch.rand(4000, d, generator=chance), 0.3 + 0.4 * torch.rand(200, d, generator=chance)
    near = distances(seen, reference, 20).log()
    estimate = float((-1.0 / (near - near[:, -1:]).mean(1)).mean())
    assert 0.8 * d < estimate < 1.3 * d


def test_squeezing_is_the_largest_move_of_the_probabilities(model, digits):
    x, squeezers = digits.test.x[:20], (BitDepth(bits=2), Median(size=3))
    score = Squeezing(squeezers=squeezers).fit(model, x, digits.test.y[:20]).score(x)
    with torch.no_grad():
        plain = model(x).softmax(1)
        moved = [(plain - model(one.apply(x, (0.0, 1.0), None)).softmax(1)).abs().sum(1) for one in squeezers]
    torch.testing.assert_close(score.float(), torch.stack(moved).amax(0))
    with pytest.raises(ConfigError, match="random"):
        Squeezing(squeezers=("resize_pad",))


def test_a_learned_detector_knows_the_attack_it_learnt(model, digits):
    detector = Learned(eps=0.2, epochs=15, attack=PGD(steps=5)).fit(model, digits.train.x, digits.train.y)
    data = digits.test
    made = attack(PGD(steps=5), model, data.x, data.y, ThreatModel(eps=0.2), seed=7).adversarial
    clean, adversarial = detector.score(data.x), detector.score(made)
    assert (adversarial[:, None] > clean[None]).double().mean() > 0.9  # area under the curve


# features


def test_features_are_what_the_last_linear_layer_gets(model, digits):
    penultimate, x = Penultimate(model), digits.test.x[:4]
    with torch.no_grad():
        features = penultimate(x)
        assert features.shape[1] == model.net[-1].in_features
        assert torch.equal(penultimate.logits(features, x), model(x))


@pytest.mark.parametrize("name", ["mlp", "resnet18", "vit_tiny", "ensemble"])
def test_architectures_have_features(name):
    net = build(name, shape=(3, 8, 8), classes=4).eval()
    penultimate = Penultimate(net)
    penultimate.check(torch.rand(2, 3, 8, 8))
    with torch.no_grad():
        assert penultimate(torch.rand(2, 3, 8, 8)).dim() == 2


def test_a_network_that_ends_otherwise_is_refused():
    after = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh()), 3)
    with pytest.raises(ModelError, match="does not end in its last linear layer"):
        Mahalanobis().fit(after, torch.rand(9, 4), torch.arange(9) % 3)
    none = Classifier(nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), 3)
    with pytest.raises(ModelError, match="no linear layer"):
        Mahalanobis().fit(none, torch.rand(9, 1, 4, 4), torch.arange(9) % 3)


# p-values


@given(
    clean=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    score=st.integers(-1, 13),
    alpha=st.floats(0.01, 0.99),
)
@settings(max_examples=200, deadline=None)
def test_a_p_value_counts_and_the_threshold_says_the_same(clean, score, alpha):
    """Ties among them: a clean score that is equal counts as at least as large."""
    clean, new = torch.tensor(sorted(clean), dtype=torch.float64), torch.tensor([float(score)])
    p = float(p_values(clean, new))
    assert p == pytest.approx((1 + int((clean >= score).sum())) / (len(clean) + 1))
    if len(clean) >= needed(alpha):
        assert (score > threshold(clean, alpha)) == (p <= alpha * (1 + 1e-12))
    else:
        with pytest.raises(ConfigError, match="at least"):
            threshold(clean, alpha)


@pytest.mark.parametrize(("alpha", "n"), [(0.01, 99), (0.05, 19), (0.001, 999), (0.5, 1), (1 / 3, 2)])
def test_so_many_samples_are_needed_and_suffice(alpha, n):
    assert needed(alpha) == n
    assert threshold(torch.arange(n).double(), alpha) == n - 1
    if n > 1:
        with pytest.raises(ConfigError, match=f"at least {n} "):
            threshold(torch.arange(n - 1).double(), alpha)


def test_the_rate_of_false_alarms_holds_over_calibration_sets():
    """Of continuous scores P(p <= alpha) is exactly floor(alpha (n + 1)) / (n + 1). 10,000 draws, fixed seed: a false failure of
    this test had a chance of 1e-6."""
    chance, alpha, n, draws = np.random.default_rng(0), 0.1, 37, 10_000
    clean = np.sort(chance.standard_cauchy((draws, n)), 1)
    new = chance.standard_cauchy(draws)
    rings = sum(float(p_values(torch.from_numpy(row), torch.tensor([one]))) <= alpha for row, one in zip(clean, new, strict=True))
    exact = int(alpha * (n + 1)) / (n + 1)
    low, high = binom.ppf([5e-7, 1 - 5e-7], draws, exact)
    assert low <= rings <= high
    assert exact <= alpha


def test_a_real_models_alarm_keeps_its_rate(model, digits):
    """Over random halves of clean data the mean rate is at most what was allowed, but for the error of a mean of 200."""
    scores, chance, alpha, rates = (
        Energy().fit(model, digits.held.x, digits.held.y).score(digits.held.x),
        np.random.default_rng(1),
        0.1,
        [],
    )
    for _ in range(200):
        order = torch.from_numpy(chance.permutation(len(scores)))
        half = len(order) // 2
        rates.append(float((p_values(scores[order[:half]].sort().values, scores[order[half:]]) <= alpha).double().mean()))
    assert np.mean(rates) <= alpha + 5 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) > 0.5 * alpha  # it is not kept by never ringing


def test_calibration_refuses_what_gives_no_alarm(model, digits):
    fitted = Energy().fit(model, digits.held.x, digits.held.y)
    with pytest.raises(ConfigError, match="isn't calibrated"):
        fitted.p_value(digits.test.x[:2])
    with pytest.raises(ConfigError, match="at least 99 clean samples"):
        fitted.calibrate(digits.held.x[:50], 0.01)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        fitted.calibrate(digits.held.x, 1.0)
    with pytest.raises(DataError, match="NaN"):
        fitted.calibrate(torch.full((200, 1, 8, 8), float("nan")))
    calibrated = fitted.calibrate(digits.held.x, 0.05)
    assert torch.equal(calibrated.flags(digits.test.x), calibrated.p_value(digits.test.x) <= 0.05)
    assert fitted.clean is None  # calibrating makes another one


# several detectors


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_holms_correction_is_that_of_the_statistics(row):
    np.testing.assert_allclose(holm(torch.tensor([row], dtype=torch.float64))[0], one_row(row))


def test_the_alarm_rings_where_the_corrected_p_value_is_small(model, digits):
    detectors = (Energy(), Mahalanobis(), NearestNeighbours(), Squeezing())
    defended = defend(model, Defence(detectors=detectors, false_alarms=0.2), digits.held)
    noisy = (digits.test.x + 0.5 * torch.rand(digits.test.x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    seen = defended.respond(torch.cat([digits.test.x, noisy]))
    assert 0 < int(seen.flagged.sum()) < len(seen.flagged)
    assert torch.equal(seen.flagged, seen.p_value <= 0.2 * (1 + 1e-12))
    lowest = torch.stack(list(seen.p_values.values())).amin(0)
    torch.testing.assert_close(seen.p_value, (4 * lowest).clamp(max=1.0))
    assert set(seen.scores) == {"energy", "mahalanobis", "nearest_neighbours", "squeezing"}


def test_many_detectors_ring_no_more_often_than_one():
    """Bonferroni under the worst dependence: rates of disjoint events add up to alpha, and no more."""
    n, m, alpha = 599, 3, 0.06
    clean = torch.arange(n).double()
    level = threshold(clean, alpha / m)
    rings = int((clean > level).sum()) + 1  # places among n + 1 where a new score would ring
    assert m * rings / (n + 1) <= alpha + 1e-12


def test_a_panel_needs_detectors_and_enough_samples(model, digits):
    with pytest.raises(ConfigError, match="no detector"):
        Panel((), 0.01)
    one = Energy().fit(model, digits.held.x, digits.held.y).calibrate(digits.held.x[:120], 0.01)
    assert Panel((one,), 0.01).names == ("energy",)
    with pytest.raises(ConfigError, match="at least 199"):
        Panel((one, one), 0.01)


def test_an_unlike_input_scores_higher_than_clean_ones(model, digits):
    """As out-of-distribution scores: uniform noise is no digit."""
    noise = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for detector in (Energy(), Mahalanobis(), NearestNeighbours()):
        fitted = detector.fit(model, digits.held.x, digits.held.y)
        clean, odd = fitted.score(digits.test.x), fitted.score(noise)
        assert (odd[:, None] > clean[None]).double().mean() > 0.7, detector


def test_a_score_that_is_no_number_rings():
    """Its p-value is the least there is, and the alarm says the same."""
    fitted = Fitted(Energy(), build("small_cnn", shape=(1, 8, 8), classes=10), {}, torch.arange(200).double())
    panel = Panel([fitted], 0.01)
    scores = torch.tensor([[torch.nan], [torch.inf], [5.0], [-torch.inf]]).double()
    assert (panel.margin(scores) > 0).tolist() == [True, True, False, False]
    assert (panel.p_values(scores)[:, 0] <= 0.01).tolist() == [True, True, False, False]
    assert panel.rings(scores).tolist() == [True, True, False, False]


def test_one_search_gives_every_detectors_p_values():
    """Detectors calibrated on numbers of samples that differ, scores that equal clean ones, and what is no number."""
    model, chance = build("small_cnn", shape=(1, 8, 8), classes=10), torch.Generator().manual_seed(0)
    sizes = (300, 1000, 301)
    fitted = [Fitted(Energy(), model, {}, torch.randn(n, generator=chance).double().sort().values) for n in sizes]
    panel = Panel(fitted, 0.02)
    scores = torch.randn(50, 3, generator=chance).double()
    scores[0], scores[1], scores[2] = torch.nan, torch.inf, -torch.inf
    for column, one in enumerate(fitted):
        scores[3 + column, column] = one.clean[7]
        torch.testing.assert_close(panel.p_values(scores)[:, column], p_values(one.clean, scores[:, column]))
    assert torch.equal(panel.rings(scores), panel.margin(scores) > 0)
    assert 0 < int(panel.rings(scores).sum()) < 50


def test_mahalanobis_keeps_its_digits_far_from_the_origin(model, digits):
    """Features of 10,000 and more: squares of 10^8, of which float32 keeps no unit."""
    chance = torch.Generator().manual_seed(0)
    x, y = digits.held.x, digits.held.y
    state = Mahalanobis().learn(model, x, y, chance)
    features = gathered(model, digits.test.x[:40])
    far = {"means": state["means"] + (1e4 * torch.ones(features.shape[1])) @ state["whitener"].T, "whitener": state["whitener"]}
    detector = Mahalanobis()
    near, moved = (
        detector.score(detector.prepare(held), SimpleNamespace(features=seen))
        for held, seen in ((state, features), (far, features + 1e4))
    )
    # The features themselves have lost 1e-3 of their unit at 1e4.
    torch.testing.assert_close(moved, near, rtol=0.05, atol=0.5)
