"""Several threat models until one is sure: on the same samples, and about their union."""

from itertools import pairwise

import pytest
import torch

from martensite.attacks import FGM, FGSM
from martensite.core.errors import ConfigError, DataError
from martensite.evaluation import Diagnostic, Suite, anytime_rate, decide, evaluate, evaluate_union, union
from martensite.threat import ThreatModel

from .conftest import linear_data, linear_model

SUITE = Suite(name="u", attacks=(FGSM(), FGM()))
EASY, HARD = ThreatModel(eps=0.001), ThreatModel(norm="l2", eps=0.12)


@pytest.fixture(scope="module")
def many():
    return linear_data(linear_model(), n=400)


def test_runs_that_each_stop_for_themselves_have_no_union(linear, many):
    alone = [evaluate(linear, many, threat, SUITE, at_least=0.8) for threat in (EASY, HARD)]
    assert len({one.data.n for one in alone}) == 2  # or this test shows nothing
    with pytest.raises(DataError, match="different samples"):
        union(alone)


@pytest.mark.parametrize("at_least", [0.3, 0.6, 0.95])
def test_the_union_stops_when_it_is_sure(at_least, linear, many):
    report = evaluate_union(linear, many, [EASY, HARD], SUITE, at_least=at_least)
    rate, n = report.union_accuracy, report.decision.samples
    assert {one.data.n for one in report.reports} == {len(report.outcomes)} == {rate.n} == {n}
    assert report.decision.verdict == decide(rate.count, n, at_least)
    assert report.decision.available == len(many)
    assert rate == anytime_rate(rate.count, n)
    for one in report.reports:
        count = one.outcomes.count("robust")
        assert one.robust_accuracy == anytime_rate(count, n)
        assert one.decision.verdict == decide(count, n, at_least)
        assert [point.accuracy for point in one.curve if point.eps == one.threat.eps] == [one.robust_accuracy]
    whole = evaluate_union(linear, many, [EASY, HARD], SUITE).union_accuracy
    assert report.decision.verdict in ("INCONCLUSIVE", "PASS" if whole.value >= at_least else "FAIL")
    assert report.decision.verdict != "INCONCLUSIVE" or n == len(many)


def test_a_longer_look_begins_with_the_samples_of_the_one_before(linear, many, monkeypatch):
    seen = []
    monkeypatch.setattr("martensite.evaluation.anytime.decide", lambda count, n, at_least: "INCONCLUSIVE")
    monkeypatch.setattr(
        "martensite.evaluation.several.evaluate",
        lambda model, samples, *rest, **options: seen.append(samples.x) or evaluate(model, samples, *rest, **options),
    )
    report = evaluate_union(linear, many, [EASY], SUITE, at_least=0.5)
    assert [len(x) for x in seen] == [100, 200, 400]
    assert all(torch.equal(before, after[: len(before)]) for before, after in pairwise(seen))
    assert report.decision.verdict == "INCONCLUSIVE"


def test_what_is_invalid_under_one_threat_model_leaves_the_union_undecided(linear, many, monkeypatch):
    found = Diagnostic(name="noise_breaks", severity="invalid", evidence="noise breaks as many", remedy="attack harder")

    def tainted(model, samples, threat, *rest, **options):
        report = evaluate(model, samples, threat, *rest, **options)
        return report if threat == EASY else report.model_copy(update={"diagnostics": (found,)})

    monkeypatch.setattr("martensite.evaluation.several.evaluate", tainted)
    report = evaluate_union(linear, many, [EASY, HARD], SUITE, at_least=0.1)
    assert [one.decision.verdict for one in report.reports] == ["PASS", "INCONCLUSIVE"]
    assert (report.decision.verdict, report.invalid) == ("INCONCLUSIVE", (found,))


@pytest.mark.parametrize("at_least", [0.0, 1.0, -1.0])
def test_a_threshold_is_a_fraction(at_least, linear, many):
    with pytest.raises(ConfigError, match="strictly between"):
        evaluate_union(linear, many, [EASY], SUITE, at_least=at_least)
