"""Each kind of noise against exact enumeration or a closed form: no certificate is longer than the truth."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import chi2, multinomial, norm
from torch import nn

from martensite.certification import Ablation, PatchSmoothing, Smoothing, UniformSmoothing, certify, predict
from martensite.certification.grid_noise import BITS, TABLE_ERROR, GridNoise
from martensite.certification.sampled import upper
from martensite.core.errors import ConfigError, DataError
from martensite.core.rng import generator
from martensite.models import Classifier

mpmath.mp.dps = 40


class Coordinate(nn.Module):
    """Class 0 where the first value is above the threshold."""

    def __init__(self, threshold=0.5):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        first = x.flatten(1)[:, :1]
        return torch.cat([first - self.threshold, self.threshold - first], dim=1)


# L1, uniform noise


def test_the_l1_radius_of_a_coordinate_is_its_margin():
    """p = (margin + lambda) / (2 lambda), and a change of the margin in that coordinate reaches the boundary: tight."""
    method = UniformSmoothing(width=0.4)
    for margin in (0.05, 0.2, 0.39):
        p = (margin + 0.4) / 0.8
        assert method.reach(1 - p, 1 - p, (3,)) == pytest.approx(margin, abs=1e-12)
        assert method.reach(1 - p, 1 - p, (3,)) <= margin
        assert method.miss_rate(margin, (3,)) == pytest.approx(1 - p, abs=1e-12)


def test_l1_certificates_never_exceed_the_margin_and_come_near():
    """300 inputs, alpha 0.001: more than 6 wrong certificates have a chance below 1e-6."""
    x = torch.full((300, 3), 0.5)
    margins = torch.linspace(0.02, 0.38, 300)
    x[:, 0] += margins
    method = UniformSmoothing(width=0.4, n=5000)
    certs = certify(Classifier(Coordinate(), 2), x, torch.zeros(300, dtype=torch.int64), method)
    assert (certs.radius > margins.double() + 1e-6).sum() <= 6
    assert certs.norm == "l1"
    assert float((margins - certs.radius).mean()) < 0.05


# Linf through L2


def test_an_linf_radius_is_the_l2_radius_by_the_root_of_d(tools):
    model, x = tools.linear(), tools.at_distance(tools.linear(), torch.tensor([0.3, 0.2]))
    y = torch.zeros(2, dtype=torch.int64)
    l2 = certify(model, x, y, Smoothing(sigma=0.25, n=5000))
    linf = certify(model, x, y, Smoothing(sigma=0.25, n=5000, norm="linf"))
    torch.testing.assert_close(linf.radius, l2.radius / math.sqrt(5), rtol=1e-9, atol=0)
    assert linf.norm == "linf"
    weight = model.net.weight[0].detach().double()
    true = tools.true_radius(model, x) * weight.norm() / weight.abs().sum()  # the distance to the boundary in Linf
    assert (linf.radius <= true).all()


# two-sided


def test_two_sided_bounds_cover_by_exact_enumeration():
    """All outcomes of 24 samples over three classes, against the radius of the true probabilities."""
    n, alpha = 24, 0.1
    method = Smoothing(sigma=1.0, n=n, alpha=alpha, test="two_sided")
    outcomes = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    claimed = {outcome: method._bound(outcome, 0, None, (1,)) for outcome in outcomes}
    for p in ((0.5, 0.25, 0.25), (0.6, 0.2, 0.2), (0.4, 0.35, 0.25), (0.8, 0.15, 0.05), (0.34, 0.33, 0.33), (0.3, 0.35, 0.35)):
        true = 0.5 * (norm.ppf(p[0]) - norm.ppf(max(p[1:])))
        wrong = [outcome for outcome in outcomes if claimed[outcome] > max(true, 0.0)]
        assert sum(multinomial.pmf(outcome, n, p) for outcome in wrong) <= alpha


def test_two_sided_certifies_without_a_majority():
    """p = (0.45, 0.28, 0.27): one-sided bounds never can."""
    counts = (45_000, 28_000, 27_000)
    assert Smoothing(sigma=0.5, test="fixed")._bound(counts, 0, None, (1,)) == 0
    radius = Smoothing(sigma=0.5, test="two_sided")._bound(counts, 0, None, (1,))
    true = 0.25 * (norm.ppf(0.45) - norm.ppf(0.28))
    assert 0.9 * true < radius < true


@pytest.mark.parametrize("n", [5, 30, 200])
def test_upper_bounds_cover(n):
    from scipy.stats import binom

    for p in np.linspace(0.01, 0.99, 33):
        below = [count for count in range(n + 1) if upper(count, n, 0.05) < p]
        assert binom.pmf(below, n, p).sum() <= 0.05 + 1e-12


# L0, by enumeration


class Table(nn.Module):
    """A random function of a few three-valued inputs (0, 0.5 = blank, 1)."""

    def __init__(self, size, classes, seed, bias):
        super().__init__()
        self.size = size
        self.scores = torch.randn(3**size, classes, generator=generator(seed, "test/table"))
        self.scores[:, 0] += bias

    def forward(self, x):
        digits = (2 * x.flatten(1)).round().long()
        return self.scores[(digits * 3 ** torch.arange(self.size)).sum(1)]


def ablations(x, keep):
    """(C(d, k), d) all ablated forms of x."""
    kept = torch.zeros(math.comb(len(x), keep), len(x), dtype=torch.bool)
    for row, chosen in enumerate(itertools.combinations(range(len(x)), keep)):
        kept[row, list(chosen)] = True
    return torch.where(kept, x, torch.full_like(x, 0.5))


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_no_change_of_the_certified_number_of_pixels_changes_the_smoothed_class(keep, seed):
    """Exactly: all ablations of all 2^8 inputs; every certified radius is checked on every input that near."""
    d = 8
    net, method = Table(d, 3, seed, bias=1.5), Ablation(keep=keep, fill=0.5)
    inputs = torch.tensor(list(itertools.product((0.0, 1.0), repeat=d)))
    votes = torch.stack([net(ablations(x, keep)).argmax(1).bincount(minlength=3) for x in inputs])
    share = votes.double() / votes.sum(1, keepdim=True)
    winner, checked = share.argmax(1), 0
    distance = (inputs[:, None] != inputs[None]).sum(2)
    for row in range(len(inputs)):
        miss = 1 - float(share[row].max())
        rival = float(share[row].topk(2).values[1])
        for bound in (miss, rival):
            radius = method.reach(miss, bound, (d,))
            assert (winner[distance[row] <= radius] == winner[row]).all()
            checked += radius >= 1
        assert method.miss_rate(max(1.0, method.reach(miss, miss, (d,))), (d,)) > miss or method.reach(miss, miss, (d,)) == 0
    assert checked > 5


@pytest.mark.parametrize(("d", "keep"), [(784, 45), (10, 3), (3072, 75), (150_528, 1000)])
def test_delta_is_the_hypergeometric_ratio_rounded_up(d, keep):
    for rho in (1, 2, 3, 8, d // 20 + 1):
        exact = 1 - mpmath.mpf(math.comb(d - rho, keep)) / math.comb(d, keep)
        found = Ablation(keep=keep).change(rho, (d,))
        assert mpmath.mpf(found) >= exact
        assert found == pytest.approx(float(exact), abs=1e-8)
    assert Ablation(keep=keep).change(0, (d,)) == 0
    assert Ablation(keep=keep).change(d - keep + 1, (d,)) == 1


def test_the_published_l0_reach():
    """Levine and Feizi 2020, sec. 4: on MNIST with k = 45 half of the images are certified to 8 pixels; all votes reach 11."""
    assert Ablation(keep=45).reach(0.0, 0.0, (1, 28, 28)) == 11
    assert Ablation(keep=45).reach(0.12, 0.12, (1, 28, 28)) == 8


def test_ablation_keeps_k_pixels_in_all_channels_evenly():
    """Each of 20 pixels is kept in 4,000 of 20,000 draws on average; chance of a false alarm: 1e-6."""
    method, x = Ablation(keep=4, fill=-1.0), torch.rand(3, 4, 5)
    noisy = torch.empty(20_000, *x.shape)
    method.noisy(x, noisy, generator(0, "test/ablation"))
    kept = noisy != -1.0
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert torch.equal(kept[:, 0], kept[:, 2])
    assert (kept[:, 0].flatten(1).sum(1) == 4).all()
    assert torch.equal(noisy[kept], x.expand(20_000, -1, -1, -1)[kept])
    counts = kept[:, 0].flatten(1).sum(0).double()
    statistic = float(((counts - 4000) ** 2 / (4000 * 0.8)).sum()) * 19 / 20
    assert statistic < chi2.isf(1e-6, 19)


def test_ablation_refuses_to_keep_more_than_there_is(tools):
    with pytest.raises(ConfigError, match="keep is 6"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), Ablation(keep=6))


# patches, by enumeration


@pytest.mark.parametrize("shape", ["columns", "blocks"])
@pytest.mark.parametrize("seed", range(4))
def test_no_patch_of_the_certified_side_changes_the_votes_winner(shape, seed):
    """Exactly: 3 x 7 images; every content (black or white) of every patch, of each certified side, at every place."""
    height, width, size = (3, 7, 1) if shape == "columns" else (3, 5, 1)

    weights = torch.randn(height * width, 3, generator=generator(seed, "test/net"))

    class Net(nn.Module):
        def forward(self, x):
            # Mostly class 0, whatever is shown; some parts of some images vote otherwise.
            return (2 * x.flatten(1) - 1) @ weights + torch.tensor([4.0, 0.0, 0.0])

    model, method = Classifier(Net(), 3), PatchSmoothing(size=size, shape=shape, fill=0.5)
    images = (torch.rand(12, 1, height, width, generator=generator(seed, "test/images")) > 0.5).float()
    y = torch.zeros(12, dtype=torch.int64)
    certs = certify(model, images, y, method)
    assert certs.norm == "patch"
    checked = 0
    for row, image in enumerate(images):
        side = int(certs.radius[row])
        winner = int(method.votes(model, image, 64).argmax())
        assert certs.abstained[row] == (side == 0)
        for m in range(1, min(side, 2) + 1):
            contents = torch.tensor(list(itertools.product((0.0, 1.0), repeat=m * m))).view(-1, m, m)
            for top, left in itertools.product(range(height - m + 1), range(width - m + 1)):
                for content in contents:
                    changed = image.clone()
                    changed[0, top : top + m, left : left + m] = content
                    assert int(method.votes(model, changed, 100).argmax()) == winner
                    checked += 1
    assert checked > 100


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", ["columns", "blocks"])
def test_a_patch_touches_no_more_parts_than_counted(shape, size):
    method = PatchSmoothing(size=size, shape=shape)
    masks = method._masks(6, 8)
    assert len(masks) == (8 if shape == "columns" else 48)
    assert (masks.sum((1, 2)) == (size * 6 if shape == "columns" else size * size)).all()
    for side in range(1, 7):
        touched = [
            int(masks[:, top : top + side, left : left + side].any(2).any(1).sum())
            for top, left in itertools.product(range(7 - side), range(9 - side))
        ]
        assert max(touched) == min(touched) == method._touched(side, 6, 8)


def test_a_tie_goes_to_the_smaller_class_and_costs_a_vote():
    method = PatchSmoothing(size=1)
    assert method.side(torch.tensor([6, 4]), 0, (10, 10)) == 1  # 4 + 1 = 5 = 6 - 1, a tie, which class 0 wins
    assert method.side(torch.tensor([4, 6]), 1, (10, 10)) == 0
    assert method.side(torch.tensor([3, 7]), 1, (10, 10)) == 1


def test_patches_are_of_images(tools):
    with pytest.raises(DataError, match="images"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), PatchSmoothing())
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 2)
    with pytest.raises(ConfigError, match="size is 4"):
        certify(model, torch.rand(1, 1, 2, 2), torch.tensor([0]), PatchSmoothing())


# noise on the grid


@pytest.mark.parametrize(("sigma", "levels"), [(0.25, 255), (0.5, 255), (0.01, 15), (1.0, 3)])
def test_the_table_of_phi_is_as_exact_as_promised(sigma, levels):
    noise = GridNoise(sigma, levels)
    step = max(1, len(noise._edges) // 200)
    for place in range(0, len(noise._edges), step):
        edge = (mpmath.mpf(place - noise.most) + mpmath.mpf(1) / 2) / (levels * mpmath.mpf(sigma))
        error = abs(mpmath.mpf(int(noise._edges[place])) / 2**BITS - mpmath.ncdf(edge))
        assert error < TABLE_ERROR / 4
    assert noise.bias < 1e-10
    beyond = 2 * mpmath.ncdf(-(mpmath.mpf(noise.most) + mpmath.mpf(1) / 2) / (levels * mpmath.mpf(sigma)))
    assert beyond < 1e-18


def test_the_guide_says_what_the_table_says():
    noise = GridNoise(0.25, 255)
    found = noise.integers((200_000,), generator(3, "test/grid"))
    bits = torch.randint(0, 1 << BITS, (200_000,), generator=generator(3, "test/grid"), dtype=torch.int64)
    assert torch.equal(found, (torch.bucketize(bits, noise._edges, right=True) - noise.most).int())


def test_integers_are_a_rounded_gaussian():
    """Chi-square over 400,000 draws; chance of a false alarm: 1e-6."""
    noise, n = GridNoise(0.02, 255), 400_000
    drawn = noise.integers((n,), generator(0, "test/grid")).numpy()
    places = np.arange(-16, 17)
    expected = n * np.diff(norm.cdf((np.arange(-17, 17) + 0.5) / (255 * 0.02)))
    observed = np.array([(drawn == place).sum() for place in places])
    assert ((observed - expected) ** 2 / expected).sum() < chi2.isf(1e-6, len(places) - 1)


def test_what_the_network_sees_is_a_function_of_integers(tools):
    """Copies of two inputs that have one sum of integers are equal bit by bit, and nothing off the grid is ever shown."""
    x = (torch.rand(4, 5, generator=generator(1, "test/x")) * 255).round() / 255
    model = tools.linear(record=True)
    certify(model, x, torch.zeros(4, dtype=torch.int64), Smoothing(sigma=0.25, n=500, quantised=True, test="fixed"))
    shown = torch.cat(model.net.shown[3:])  # after the check of the model and the guesses
    whole = (shown.double() * 255).round()
    assert torch.equal(shown, whole.float() / 255)
    assert whole.min() < 0
    assert len(shown) == 4 * 500


def test_quantised_noise_wants_inputs_of_the_grid(tools):
    model, x, y = tools.linear(), tools.inputs(3), torch.zeros(3, dtype=torch.int64)
    method = Smoothing(sigma=0.25, quantised=True)
    with pytest.raises(DataError, match="no multiple of 1/255"):
        certify(model, x, y, method)
    certify(model, (x * 255).round() / 255, y, method, radius=0.25)
    with pytest.raises(DataError, match="1/15"):
        predict(model, x, Smoothing(sigma=0.25, quantised=True, levels=15))


def test_the_bias_shortens_radii():
    exact, quantised = Smoothing(sigma=0.25), Smoothing(sigma=0.25, quantised=True)
    shape = (3, 224, 224)
    for radius in (0.25, 0.5, 0.75):
        assert 0 < exact.miss_rate(radius, shape) - quantised.miss_rate(radius, shape) < 1e-5
    assert quantised.reach(0.01, 0.01, shape) < exact.reach(0.01, 0.01, shape)


# predict


def test_predict_errs_no_more_than_alpha_by_exact_enumeration():
    """All outcomes of 20 votes over three classes."""
    from scipy.stats import binomtest

    n, alpha = 20, 0.05
    for p in ((0.4, 0.35, 0.25), (0.34, 0.33, 0.33), (0.5, 0.5, 0.0), (0.51, 0.49, 0.0)):
        wrong = 0.0
        for a in range(n + 1):
            for b in range(n + 1 - a):
                votes = (a, b, n - a - b)
                first, second = sorted(votes, reverse=True)[:2]
                if binomtest(first, first + second).pvalue <= alpha and votes.index(first) != 0:
                    wrong += multinomial.pmf(votes, n, p)
        assert wrong <= alpha


def test_predict_answers_as_the_binomial_test_does(tools):
    from scipy.stats import binomtest

    model = tools.linear()
    x = tools.at_distance(model, torch.linspace(-0.2, 0.2, 41))
    answers = predict(model, x, Smoothing(sigma=0.25), n=200, alpha=0.01, seed=2)
    assert (answers.counts.sum(1) == 200).all()
    for row, counts in enumerate(answers.counts.tolist()):
        clear = binomtest(max(counts), sum(counts)).pvalue <= 0.01
        assert bool(answers.abstained[row]) != clear
        assert int(answers.prediction[row]) == (counts.index(max(counts)) if clear else -1)
    assert 3 < answers.abstained.sum() < 25
    assert torch.equal(predict(model, x, Smoothing(sigma=0.25), n=200, alpha=0.01, seed=2, batch_size=7).counts, answers.counts)


@pytest.mark.parametrize(("alpha", "least"), [(0.001, 11), (0.05, 6), (0.5, 2)])
def test_predict_says_how_many_votes_it_takes(alpha, least, tools):
    with pytest.raises(ConfigError, match=f"at least {least}"):
        predict(tools.linear(), tools.inputs(1), Smoothing(sigma=0.25), n=least - 1, alpha=alpha)
    predict(tools.linear(), tools.inputs(1), Smoothing(sigma=0.25), n=least, alpha=alpha)
    with pytest.raises(ConfigError, match="alpha is 1"):
        predict(tools.linear(), tools.inputs(1), Smoothing(sigma=0.25), alpha=1.0)
