"""What is measured beside the attacks: corruption errors, other norms, CLEVER, seeds; each against its definition."""

from statistics import fmean

import pytest
import torch
from torch import nn

from martensite.attacks import DDN, FGSM, FMN, PGD
from martensite.attacks.natural import corrupt
from martensite.core.errors import ConfigError, DataError
from martensite.core.rng import streams
from martensite.data import Dataset
from martensite.evaluation import (
    RobustnessReport,
    Suite,
    clever,
    compare,
    evaluate,
    relative_corruption_error,
    restated,
    union,
    variation,
    varied,
    wilson,
)
from martensite.evaluation.clever import Clever
from martensite.evaluation.corruption import FIFTEEN, Corrupting
from martensite.models import BlackBox, Classifier
from martensite.threat import ThreatModel

ONE = (FGSM(),)


@pytest.fixture(scope="module")
def images():
    """Images told apart by where they are brighter, and a model that looks there: wrong on one in six, noise confuses it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(30, 1, 8, 8, generator=generator) * 0.5
    y = torch.arange(30) % 2
    x[y == 1, :, :4] += 0.04
    x[y == 0, :, 4:] += 0.04
    y[::6] = 1 - y[::6]
    return Dataset(x, y, 2, name="images")


@pytest.fixture(scope="module")
def looker():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        halves = torch.cat([-torch.ones(32), torch.ones(32)])
        net[1].weight.copy_(torch.stack([halves, -halves]))
        net[1].bias.zero_()
    return Classifier(net, 2)


# corruption error


def test_errors_are_those_of_the_corrupted_images_whatever_the_clean_ones_got(images, looker):
    plan = Corrupting(kinds=("gaussian_noise", "brightness"), severities=(1, 5))
    suite = Suite(name="c", attacks=ONE, corruption=plan)
    report = evaluate(looker, images, ThreatModel(eps=0.01), suite, seed=4)
    found, means = report.corruption, []
    for row in found.rows:
        for severity, rate in zip((1, 5), row.errors, strict=True):
            rng = streams(4, f"corruption/{row.kind}/{severity}", 30)
            with torch.no_grad():
                wrong = looker(corrupt(images.x, row.kind, severity, rng)).argmax(1) != images.y
            assert (rate.count, rate.n) == (int(wrong.sum()), 30)
        means.append(row.mean)
        assert row.mean == pytest.approx(fmean(rate.value for rate in row.errors))
    assert found.mean == pytest.approx(fmean(means))
    assert found.rise == pytest.approx(found.mean - (1 - report.clean_accuracy.value))
    assert len({rate.count for row in found.rows for rate in row.errors} | {30 - report.clean_accuracy.count}) > 1
    assert RobustnessReport.model_validate_json(report.model_dump_json()) == report


def test_by_default_it_is_the_fifteen_of_the_paper(images, looker):
    assert len(FIFTEEN) == len(set(FIFTEEN)) == 15
    report = evaluate(looker, images.subset(slice(0, 4)), ThreatModel(eps=0.01), Suite(name="c", attacks=ONE, corruption={}))
    assert [row.kind for row in report.corruption.rows] == list(FIFTEEN)
    assert report.corruption.severities == (1, 2, 3, 4, 5)


def test_a_model_that_leaves_corrupted_images_open_is_wrong_there(images, looker):
    def predict(x):
        if (x.min(axis=(1, 2, 3)) > 0.05).any():  # brightened
            raise TimeoutError("too bright")
        return looker(torch.from_numpy(x)).detach().numpy()

    suite = Suite(
        name="c", attacks=(PGD(),), queries=({"kind": "square", "queries": 5},), corruption=Corrupting(kinds=("brightness",))
    )
    report = evaluate(BlackBox(predict, 2), images, ThreatModel(eps=0.01), suite)
    assert report.corruption.unanswered > 0
    assert report.corruption.rows[0].errors[4].count >= report.corruption.unanswered / 5


def test_mce_is_relative_to_a_reference_as_in_the_paper(images, looker):
    weak = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 2)
    with torch.no_grad():
        weak.net[1].weight.copy_(looker.net[1].weight + torch.linspace(-1, 1, 64))
        weak.net[1].bias.zero_()
    suite = Suite(name="c", attacks=ONE, corruption=Corrupting(kinds=("gaussian_noise", "fog"), severities=(3,)))
    one, other = (evaluate(model, images, ThreatModel(eps=0.01), suite) for model in (looker, weak))
    wanted = fmean(a.errors[0].value / b.errors[0].value for a, b in zip(other.corruption.rows, one.corruption.rows, strict=True))
    assert relative_corruption_error(other.corruption, one.corruption) == pytest.approx(wanted)
    assert compare({"one": one, "other": other}).corruption == pytest.approx((1.0, wanted))
    fewer = evaluate(looker, images, ThreatModel(eps=0.01), suite.model_copy(update={"corruption": Corrupting(kinds=("fog",))}))
    with pytest.raises(DataError, match="other corruptions"):
        relative_corruption_error(fewer.corruption, one.corruption)


@pytest.mark.parametrize("wrong", [{"severities": (0,)}, {"severities": (3, 3)}, {"kinds": ("fog", "fog")}, {"kinds": ()}])
def test_corruptions_that_there_are_not_are_refused(wrong):
    with pytest.raises(ConfigError):
        Corrupting(**wrong)


def test_rows_of_a_table_have_no_weather(linear, data, threat):
    report = evaluate(linear, data, threat, Suite(name="c", attacks=ONE, corruption={}, clever={"batches": 2, "samples": 4}))
    assert report.corruption is None
    assert any("corruption error is for images" in line for line in report.left_out)
    assert len(report.clever.scores) == 20


# every norm


def test_distances_in_every_norm_are_the_closed_form(linear, data, threat):
    suite = Suite(name="n", attacks=ONE, distances=FMN(), norms=("linf", "l2", "l1", "l0"))
    report = evaluate(linear, data, threat, suite)
    assert [row.norm for row in report.norms] == ["l2", "l1", "l0"]  # the threat model's own is the report's
    w, b = linear.net.weight.detach().double(), linear.net.bias.detach().double()
    w, b = w[0] - w[1], b[0] - b[1]
    lead = torch.where(data.y == 0, data.x.double() @ w + b, -(data.x.double() @ w + b))
    right = lead > 0
    for row, dual in zip(report.norms[:2], (w.norm(), w.abs().max()), strict=True):
        exact = (lead / dual)[right]
        assert row.minimal.n == int(right.sum())
        low = float(exact.quantile(0.5))
        assert low * 0.999 <= row.minimal.median <= low * 1.25  # in L1 the walls of the box are in the way
        counts = [point.accuracy.count for point in row.curve]
        assert counts[0] == int(right.sum())
        assert counts == sorted(counts, reverse=True)
    assert 1 <= report.norms[2].minimal.median <= 6
    assert report.norms[2].minimal.median == int(report.norms[2].minimal.median)
    plain = evaluate(linear, data, threat, suite.model_copy(update={"norms": ()}))
    assert plain.outcomes == report.outcomes
    assert plain.distances == report.distances


def test_a_norm_that_the_search_does_not_know_is_left_out(linear, data, threat):
    report = evaluate(linear, data, threat, Suite(name="n", attacks=ONE, distances=FMN(), norms=("l2",)))
    assert report.left_out == ()
    alone = evaluate(
        linear, data, ThreatModel(norm="l2", eps=0.1), Suite(name="n", attacks=(PGD(),), distances=DDN(), norms=("l1",))
    )
    assert alone.left_out == ("ddn does not support l1",)
    with pytest.raises(ConfigError, match="distances are measured in them"):
        Suite(name="n", attacks=ONE, norms=("l2",))


# CLEVER


def test_clever_of_the_first_correct_samples(linear, data, margin, threat):
    plan = Clever(batches=3, samples=4, limit=5, radius=2.0)
    report = evaluate(linear, data, threat, Suite(name="k", attacks=ONE, clever=plan), seed=2)
    rows = (margin > 0).nonzero().flatten()[:5]
    wanted = clever(linear, data.x[rows], data.y[rows], threat.at(2 * threat.eps), batches=3, samples=4, seed=2)
    assert list(report.clever.scores) == wanted.tolist()
    assert report.clever.radius == 2 * threat.eps
    wide = plan.model_copy(update={"radius": 100.0})
    assert evaluate(linear, data, threat, Suite(name="k", attacks=ONE, clever=wide)).clever.radius == 1.0  # the box
    assert report.clever.mean == pytest.approx(float(wanted.mean()))


# seeds and intervals


def test_several_seeds_in_one_report(linear, data, threat):
    weak = Suite(name="weak", attacks=(PGD(steps=1),))
    reports = [evaluate(linear, data, threat, weak, seed=seed) for seed in range(3)]
    whole = varied(reports)
    assert whole.variation == variation(reports)
    assert whole.model_copy(update={"variation": None}) == reports[0]
    assert RobustnessReport.model_validate_json(whole.model_dump_json()) == whole
    with pytest.raises(ConfigError, match="only the seed"):
        varied([reports[0], evaluate(linear, data, threat, Suite(name="weak", attacks=(PGD(steps=2),)))])


def test_every_interval_can_be_wilsons(linear, data, threat):
    report = evaluate(linear, data, threat, Suite(name="i", attacks=ONE, distances=FMN(), curve=(0.5,), norms=("l2",)))
    other = restated(report, "wilson")
    count, n = report.robust_accuracy.count, len(data)
    assert (other.robust_accuracy.low, other.robust_accuracy.high) == wilson(count, n)
    text = other.model_dump_json()
    assert '"wilson"' in text
    assert '"clopper-pearson"' not in text
    assert restated(other, "clopper-pearson") == report
    both = union([report, report])
    assert restated(both, "wilson").union_accuracy.method == "wilson"
    early = evaluate(linear, data, threat, Suite(name="i", attacks=ONE), at_least=0.99)
    assert restated(early, "wilson").robust_accuracy == early.robust_accuracy


# what a suite is


def test_a_suite_is_told_by_its_digest_and_not_by_its_name(linear, data, threat):
    short, long = (Suite(name="same", attacks=(PGD(steps=steps),)) for steps in (1, 2))
    assert short.digest != long.digest == Suite.parse(long.model_dump(mode="json")).digest
    one, other = (evaluate(linear, data, threat, suite) for suite in (short, long))
    assert one.suite_digest == short.digest
    assert Suite(name="another", attacks=(PGD(steps=1),)).digest == short.digest
    assert Suite(name="same", attacks=(PGD(steps=1),), clever={}).digest != short.digest
    with pytest.raises(DataError, match="the suite's parameters"):
        compare({"one": one, "other": other})
    old = one.model_copy(update={"suite_digest": None})
    assert compare({"one": old, "other": other}).names == ("one", "other")
