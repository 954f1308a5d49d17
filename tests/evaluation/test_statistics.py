"""Planning, stopping early, pairs, classes, seeds: against closed forms, exact enumeration and the definitions."""

from itertools import product
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import binom

from martensite.attacks import FGSM, MIFGSM, PGD, HopSkipJump, Square
from martensite.core.errors import ConfigError, DataError
from martensite.data import Dataset
from martensite.evaluation import (
    Rate,
    Suite,
    anytime_rate,
    clever,
    clopper_pearson,
    compare,
    decide,
    difference,
    evaluate,
    expected_calibration_error,
    holm,
    mcnemar,
    samples_for,
    transfer_matrix,
    variation,
)
from martensite.evaluation.classes import by_class
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

ONE = Suite(name="one", attacks=(PGD(steps=3, loss="margin"),))


# the planner


@pytest.mark.parametrize("half", [0.2, 0.05, 0.02])
def test_the_planned_n_is_enough_for_every_count_and_one_less_is_not(half):
    n = samples_for(half)
    widths = [high - low for low, high in (clopper_pearson(count, n) for count in range(0, n + 1, max(1, n // 200)))]
    assert max(widths) <= 2 * half
    low, high = clopper_pearson((n - 1) // 2, n - 1)
    assert high - low > 2 * half


@pytest.mark.parametrize("wrong", [0.0, 0.5, -1.0, 1e-9])
def test_a_half_width_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="half_width"):
        samples_for(wrong)


# stopping early


@pytest.mark.parametrize("rate", [0.6, 0.7])
def test_looking_after_every_sample_is_wrong_no_more_often_than_stated(rate):
    """Exact: the distribution over counts is carried forward, and what stops is taken out. At the threshold no FAIL is right."""
    at_least, alpha, n = 0.6, 0.025, 400
    alive, wrong = np.array([1.0]), 0.0
    for seen in range(1, n + 1):
        alive = np.convolve(alive, [1 - rate, rate])
        for count in np.flatnonzero(alive > 0):
            if decide(int(count), seen, at_least, alpha) == "FAIL":
                wrong += alive[count]
                alive[count] = 0.0
    assert wrong <= alpha


def test_it_decides_soon_where_it_is_clear():
    assert decide(95, 100, 0.6) == "PASS"
    assert decide(20, 100, 0.6) == "FAIL"
    assert decide(60, 100, 0.6) == "INCONCLUSIVE"
    assert decide(0, 0, 0.6) == "INCONCLUSIVE"


@pytest.mark.parametrize(("count", "n"), [(0, 10), (10, 10), (33, 100), (970, 1000)])
def test_the_anytime_interval_agrees_with_its_decisions_and_is_wider_than_the_exact_one(count, n):
    rate = anytime_rate(count, n)
    low, high = clopper_pearson(count, n)
    assert rate.low <= low <= rate.value <= high <= rate.high
    assert rate.high - rate.low < 2.5 * (high - low)
    for inside, outside, word in ((rate.low + 1e-6, rate.low - 1e-6, "PASS"), (rate.high - 1e-6, rate.high + 1e-6, "FAIL")):
        if 0 < outside < 1:
            assert decide(count, n, outside) == word
        if 0 < inside < 1:
            assert decide(count, n, inside) == "INCONCLUSIVE"


def plane(n, share):
    """A plane, and n samples of which a share is out of reach of eps 0.1."""
    net = torch.nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        net.bias.copy_(torch.tensor([-0.5, 0.5]))
    x = torch.full((n, 2), 0.9)
    x[int(share * n) :, 0] = 0.55
    return Classifier(net, 2), Dataset(x, torch.zeros(n, dtype=torch.int64), 2)


def test_a_run_stops_as_soon_as_it_is_sure():
    model, data = plane(3000, 0.8)
    report = evaluate(model, data, ThreatModel(eps=0.1), ONE, at_least=0.6)
    assert report.decision.verdict == "PASS"
    assert report.decision.samples == report.data.n == len(report.outcomes) < 400
    assert report.decision.available == 3000
    assert report.robust_accuracy.method == "anytime"
    assert report.robust_accuracy.low > 0.6
    assert report.robust_accuracy.low < 0.8 < report.robust_accuracy.high
    failed = evaluate(model, data, ThreatModel(eps=0.1), ONE, at_least=0.9)
    assert failed.decision.verdict == "FAIL"
    close = evaluate(model, data.subset(torch.arange(0, 3000, 10)), ThreatModel(eps=0.1), ONE, at_least=0.79)
    assert (close.decision.verdict, close.decision.samples) == ("INCONCLUSIVE", 300)
    with pytest.raises(ConfigError, match="at_least"):
        evaluate(model, data, ThreatModel(eps=0.1), ONE, at_least=1.0)


# pairs


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 5), (9, 2), (3, 14), (30, 11)])
def test_mcnemar_is_the_binomial_test_by_enumeration(one, other):
    n = one + other
    chances = [comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(chance for chance in chances if chance <= chances[one] * (1 + 1e-9))
    assert mcnemar(one, other) == pytest.approx(min(expected, 1.0))
    assert mcnemar(one, other) == pytest.approx(mcnemar(other, one))


def test_a_difference_counts_pairs():
    first, second = [True] * 6 + [False] * 4, [True] * 3 + [False] * 6 + [True]
    found = difference(first, second)
    assert (found.first_only, found.second_only, found.n) == (3, 1, 10)
    assert found.value == pytest.approx(0.2)
    assert found.low < 0.2 < found.high
    assert found.p == mcnemar(3, 1)
    with pytest.raises(ConfigError, match="every sample"):
        difference([True], [True, False])


def test_holm_is_what_a_textbook_says():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_models_are_compared_on_the_same_samples_only(linear, data, threat):
    near = evaluate(linear, data, threat, ONE)
    other = Classifier(torch.nn.Linear(6, 2), 2)
    with torch.no_grad():
        other.net.weight.copy_(linear.net.weight.flip(1))
        other.net.bias.copy_(linear.net.bias)
    far = evaluate(other, data, threat, ONE)
    report = compare({"near": near, "far": far, "again": near})
    assert [(pair.first, pair.second) for pair in report.pairs] == [("near", "far"), ("near", "again"), ("far", "again")]
    pair = report.pairs[0]
    assert pair.robust.value == pytest.approx(near.robust_accuracy.value - far.robust_accuracy.value)
    assert pair.p_robust == pytest.approx(min(1.0, 3 * pair.robust.p))
    assert report.pairs[1].robust.value == 0
    assert report.pairs[1].p_robust == 1.0
    with pytest.raises(DataError, match="differ in threat model"):
        compare({"a": near, "b": evaluate(linear, data, ThreatModel(eps=0.05), ONE)})
    with pytest.raises(DataError, match="needs two"):
        compare({"a": near})


def test_an_error_is_correct_in_a_comparison_only_if_its_report_says_so(linear, data, threat):
    """Of an attack that failed, or of a clean input that got no answer: outcomes call both an error."""
    whole = evaluate(linear, data, threat, ONE)
    outcomes = list(whole.outcomes)
    for place in [place for place, outcome in enumerate(outcomes) if outcome != "misclassified"][:2]:
        outcomes[place] = "error"
    right = whole.clean_accuracy.count
    failed, unanswered, mixed = (
        whole.model_copy(update={"outcomes": tuple(outcomes), "clean_accuracy": Rate.of(right - wrong, len(data))})
        for wrong in (0, 2, 1)
    )
    found = compare({"whole": whole, "failed": failed, "unanswered": unanswered, "mixed": mixed}).pairs[:3]
    assert [pair.clean.first_only for pair in found] == [0, 2, 2]
    assert [pair.clean.second_only for pair in found] == [0, 0, 0]


# classes


def test_the_weak_class_is_flagged_and_no_other():
    labels = [0] * 100 + [1] * 100 + [2] * 100
    robust = [True] * 80 + [False] * 20 + [True] * 45 + [False] * 55 + [True] * 78 + [False] * 22
    rows = by_class(labels, ["a", "b", "c"], [True] * 300, robust)
    assert [row.flagged for row in rows] == [False, True, False]
    assert [row.robust_accuracy.count for row in rows] == [80, 45, 78]
    assert rows[1].clean_accuracy.value == 1.0


def test_equal_classes_are_rarely_flagged():
    """At most 5 % of 400 tables of ten equal classes may show a flag; 40 would have a chance below 1e-4 were the rate 5 %."""
    generator = torch.Generator().manual_seed(0)
    flagged = 0
    for _ in range(400):
        labels = torch.randint(10, (200,), generator=generator).tolist()
        robust = (torch.rand(200, generator=generator) < 0.6).tolist()
        flagged += any(row.flagged for row in by_class(labels, [str(k) for k in range(10)], [True] * 200, robust))
    assert binom.sf(40, 400, 0.05) < 1e-4
    assert flagged <= 40


def test_classes_add_up(linear, data, threat):
    report = evaluate(linear, data, threat, ONE)
    assert [row.name for row in report.classes] == ["0", "1"]
    assert sum(row.robust_accuracy.count for row in report.classes) == report.robust_accuracy.count
    assert sum(row.clean_accuracy.n for row in report.classes) == len(data)


# seeds


def test_variation_over_seeds(linear, data, threat):
    weak = Suite(name="weak", attacks=(PGD(steps=1),))
    reports = [evaluate(linear, data, threat, weak, seed=seed) for seed in range(4)]
    found = variation(reports)
    assert found.values == tuple(report.robust_accuracy.value for report in reports)
    assert found.deviation == pytest.approx(float(np.std(found.values, ddof=1)))
    assert found.worst.value <= min(found.values)
    with pytest.raises(ConfigError, match="only the seed"):
        variation([reports[0], evaluate(linear, data, threat, ONE)])


# metrics


def test_calibration_by_hand():
    confidence = torch.tensor([0.95, 0.92, 0.55, 0.58, 1.0])
    correct = torch.tensor([True, False, True, True, True])
    # Bins of 1/15: {0.95, 1.0}, {0.92}, {0.55, 0.58}.
    expected = (abs(1.95 - 2) + abs(0.92 - 0) + abs(1.13 - 2)) / 5
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)
    assert expected_calibration_error(torch.ones(4), torch.ones(4, dtype=torch.bool)) == 0
    assert expected_calibration_error(torch.full((4,), 0.5), torch.tensor([True, False] * 2)) == 0
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        expected_calibration_error(torch.tensor([1.2]), torch.tensor([True]))


def test_calibration_worsens_under_attack(linear, data, threat):
    report = evaluate(linear, data, ThreatModel(eps=0.2), ONE)
    with torch.no_grad():
        sure = linear(data.x).softmax(1).amax(1)
    right = torch.tensor([outcome != "misclassified" for outcome in report.outcomes])
    assert report.calibration.clean == pytest.approx(expected_calibration_error(sure, right))
    assert 0 <= report.calibration.attacked <= 1


@pytest.mark.parametrize("shares", [False, True], ids=["logits", "probabilities"])
def test_calibration_of_a_model_that_gives_scores(linear, data, threat, shares):
    """Without an attack only: asking about adversarials would cost queries."""

    def scores(x):
        with torch.no_grad():
            found = linear(torch.as_tensor(x))
        return (found.softmax(1) if shares else found).numpy()

    report = evaluate(BlackBox(scores, 2), data, threat, Suite(name="q", attacks=(Square(queries=5),)))
    white = evaluate(linear, data, threat, ONE)
    assert report.calibration.clean == pytest.approx(white.calibration.clean, abs=1e-6)
    assert report.calibration.attacked is None
    labels = BlackBox(lambda x: scores(x).argmax(1), 2, access=Access.DECISIONS)
    assert evaluate(labels, data, threat, Suite(name="q", attacks=(HopSkipJump(queries=20),))).calibration is None


def test_minimal_distances_in_one_number(linear, data, margin, threat):
    from martensite.attacks import FMN

    report = evaluate(linear, data, threat, Suite(name="m", attacks=(FGSM(),), distances=FMN()))
    right = margin > 0
    assert report.minimal.n == report.minimal.found == int(right.sum())
    assert report.minimal.median == pytest.approx(float(margin[right].double().quantile(0.5)), rel=0.02)
    assert report.minimal.mean == pytest.approx(float(margin[right].mean()), rel=0.02)
    wanted = float((margin[right] / data.x[right].double().abs().amax(1)).mean())
    assert report.minimal.empirical_robustness == pytest.approx(wanted, rel=0.02)
    without = evaluate(linear, data, threat, ONE).minimal
    assert without.found < without.n
    assert without.mean is without.empirical_robustness is None


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_clever_of_a_linear_model_is_its_distance(norm, linear, data):
    few = data.subset(slice(0, 12))
    w = (linear.net.weight[0] - linear.net.weight[1]).detach().double()
    b = float((linear.net.bias[0] - linear.net.bias[1]).detach())
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    lead = (few.x.double() @ w + b) * torch.where(few.y == 0, 1.0, -1.0) / dual
    scores = clever(linear, few.x, few.y, ThreatModel(norm=norm, eps=0.5), batches=3, samples=4)
    assert scores.tolist() == pytest.approx(lead.clamp(0, 0.5).tolist(), rel=1e-4, abs=1e-7)


def test_clever_of_a_curved_model_is_no_more_than_an_attack_finds():
    """A quadratic gap has its steepest gradient on the ball's rim: g = 1 - 4 |x - c|^2, safe to 0.5, slope 4 at a radius 0.5."""

    class Bowl(torch.nn.Module):
        def forward(self, x):
            gap = 1 - 4 * ((x - 0.5) ** 2).sum(1)
            return torch.stack([gap, torch.zeros_like(gap)], 1)

    x = torch.full((1, 2), 0.5)
    score = float(clever(Classifier(Bowl(), 2), x, torch.zeros(1, dtype=torch.int64), ThreatModel(norm="l2", eps=0.45)))
    assert 1 / (8 * 0.45) * 0.8 < score <= 1 / (8 * 0.45) * 1.2  # L = 8 r at the rim r = 0.45
    assert score < 0.5


def test_the_transfer_matrix(linear, data, margin, threat):
    flipped = Classifier(torch.nn.Linear(6, 2), 2)
    with torch.no_grad():
        flipped.net.weight.copy_(2 * linear.net.weight)
        flipped.net.bias.copy_(2 * linear.net.bias)
    matrix = transfer_matrix({"one": linear, "twice": flipped}, data, threat, MIFGSM(steps=5))
    right, fall = int((margin > 0).sum()), int(((margin > 0) & (margin < threat.eps)).sum())
    for row, column in product(range(2), range(2)):  # the same decisions, so all transfers
        rate = matrix.rates[row][column]
        assert (rate.count, rate.n) == (fall, right)
