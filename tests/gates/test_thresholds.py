"""The gate decides by the ends of the interval, to the last bit, and never by what could not be measured."""

import math

import pytest

from martensite.core.errors import ConfigError, DataError
from martensite.evaluation import Diagnostic, union
from martensite.evaluation.intervals import paired_difference
from martensite.evaluation.report import Verdict
from martensite.gates import Thresholds
from martensite.threat import ThreatModel

UP, DOWN = math.inf, -math.inf


def words(verdict):
    return {check.name: check.verdict for check in verdict.checks}


@pytest.mark.parametrize("kind", ["clean", "robust"])
def test_at_least_is_decided_by_the_ends_of_the_interval(kind, measured):
    report = measured(robust=60, broken=20, misclassified=20)
    rate = report.clean_accuracy if kind == "clean" else report.robust_accuracy
    for threshold, verdict in [
        (0.0, "PASS"),
        (math.nextafter(rate.low, DOWN), "PASS"),
        (rate.low, "PASS"),
        (math.nextafter(rate.low, UP), "INCONCLUSIVE"),
        (rate.value, "INCONCLUSIVE"),
        (rate.high, "INCONCLUSIVE"),
        (math.nextafter(rate.high, UP), "FAIL"),
        (1.0, "FAIL"),
    ]:
        judged = Thresholds.parse({f"min_{kind}_accuracy": threshold}).judge(report)
        assert judged.verdict == verdict, threshold
        assert words(judged) == {f"min_{kind}_accuracy": verdict}


def test_all_samples_right_still_is_no_proof_of_one(measured):
    assert Thresholds(min_clean_accuracy=1.0).judge(measured(robust=100)).verdict == "INCONCLUSIVE"
    assert Thresholds(min_clean_accuracy=0.0).judge(measured(misclassified=100)).verdict == "PASS"


# Against a baseline. 100 samples; hardening turns 30 broken ones robust and 12 right ones wrong.
BEFORE = ["robust"] * 20 + ["broken"] * 70 + ["misclassified"] * 10
AFTER = ["robust"] * 50 + ["broken"] * 28 + ["misclassified"] * 22


def test_a_drop_is_decided_by_the_ends_of_its_paired_interval(measured):
    before, after = measured(outcomes=BEFORE), measured(outcomes=AFTER)
    low, high = paired_difference(78, 12, 0, 10)
    assert 0 < low < high < 1
    for most, verdict in [
        (1.0, "PASS"),
        (high, "PASS"),
        (math.nextafter(high, DOWN), "INCONCLUSIVE"),
        (low, "INCONCLUSIVE"),
        (math.nextafter(low, DOWN), "FAIL"),
        (0.0, "FAIL"),
    ]:
        assert Thresholds(max_clean_drop=most).judge(after, before).verdict == verdict, most


def test_a_gain_is_decided_by_the_ends_of_its_paired_interval(measured):
    before, after = measured(outcomes=BEFORE), measured(outcomes=AFTER)
    low, high = paired_difference(20, 30, 0, 50)
    assert 0 < low < high < 1
    for least, verdict in [
        (0.0, "PASS"),
        (low, "PASS"),
        (math.nextafter(low, UP), "INCONCLUSIVE"),
        (high, "INCONCLUSIVE"),
        (math.nextafter(high, UP), "FAIL"),
        (1.0, "FAIL"),
    ]:
        assert Thresholds(min_robust_gain=least).judge(after, before).verdict == verdict, least


def test_the_difference_is_paired_by_sample_not_by_rate(measured):
    same = measured(outcomes=["misclassified", "robust"] * 50)
    swapped = measured(outcomes=["robust", "misclassified"] * 50)
    assert Thresholds(max_clean_drop=0.05).judge(same, same).verdict == "PASS"
    assert Thresholds(max_clean_drop=0.05).judge(swapped, same).verdict == "INCONCLUSIVE"


def test_a_model_that_became_worse_has_no_gain(measured):
    verdict = Thresholds(min_robust_gain=0.0).judge(measured(outcomes=BEFORE), measured(outcomes=AFTER))
    assert verdict.verdict == "FAIL"
    assert "-30.0%" in verdict.checks[0].reason


def test_a_rise_is_no_drop(measured):
    verdict = Thresholds(max_clean_drop=0.0).judge(measured(outcomes=BEFORE), measured(outcomes=AFTER))
    assert verdict.verdict == "PASS"
    assert "+12.0%" in verdict.checks[0].reason


def test_the_worst_check_decides(measured):
    report = measured(robust=60, broken=20, misclassified=20)
    passing, open_, failing = {"min_clean_accuracy": 0.1}, {"min_robust_accuracy": 0.6}, {"min_robust_accuracy": 0.99}
    assert Thresholds(**passing).judge(report).verdict == "PASS"
    assert Thresholds(**passing, **open_).judge(report).verdict == "INCONCLUSIVE"
    assert Thresholds(**passing, **failing).judge(report).verdict == "FAIL"
    mixed = Thresholds(min_clean_accuracy=0.8, min_robust_accuracy=0.99).judge(report)
    assert words(mixed) == {"min_clean_accuracy": "INCONCLUSIVE", "min_robust_accuracy": "FAIL"}
    assert mixed.verdict == "FAIL"


@pytest.mark.parametrize(("word", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 3)])
def test_exit_codes(word, code):
    assert Verdict(verdict=word, checks=()).exit_code == code


def test_no_threshold_decides_nothing(measured):
    verdict = Thresholds().judge(measured(robust=100), measured(robust=1, broken=99))
    assert verdict.verdict == "INCONCLUSIVE"
    assert "no threshold" in verdict.checks[0].reason


# What could not be measured


@pytest.mark.parametrize("given", [{"min_robust_accuracy": 0.5}, {"min_clean_accuracy": 0.5}, {}])
def test_samples_in_error_never_pass(given, measured):
    report = measured(robust=199, error=1)
    verdict = Thresholds(**given).judge(report)
    assert verdict.verdict == "INCONCLUSIVE"
    assert words(verdict)["complete"] == "INCONCLUSIVE"
    assert "1 of 200 samples could not be attacked" in verdict.checks[-1].reason


def test_errors_are_not_counted_as_robust(measured):
    assert Thresholds(min_robust_accuracy=0.65).judge(measured(robust=50, error=50)).verdict == "FAIL"


def test_a_baseline_in_error_makes_no_gain(measured):
    """The attack crashed on the baseline, so its robust accuracy is unknown, not 0."""
    verdict = Thresholds(min_robust_gain=0.2).judge(measured(robust=100), measured(error=100))
    assert verdict.verdict == "INCONCLUSIVE"
    assert "for the baseline" in verdict.checks[-1].reason


def test_errors_of_a_baseline_that_nothing_compares_with_do_not_matter(measured):
    thresholds = Thresholds(min_robust_accuracy=0.5, max_clean_drop=0.1)
    assert thresholds.judge(measured(robust=100), measured(error=100)).verdict == "PASS"


# What can't be compared


@pytest.mark.parametrize("relative", ["max_clean_drop", "min_robust_gain"])
def test_a_relative_threshold_needs_a_baseline(relative, measured):
    with pytest.raises(DataError, match="--baseline"):
        Thresholds.parse({relative: 0.1}).judge(measured(robust=10))


@pytest.mark.parametrize("relative", ["max_clean_drop", "min_robust_gain"])
@pytest.mark.parametrize("differing", ["data", "threat model", "attacks", "suite", "outcomes"])
def test_incomparable_reports_are_refused(relative, differing, measured):
    report = measured(robust=10)
    other = {
        "data": {"data": report.data.model_copy(update={"digest": "sha256:other"})},
        "threat model": {"threat": ThreatModel(norm="linf", eps=0.2)},
        "attacks": {"attacks": (report.attacks[0].model_copy(update={"attack": {"kind": "pgd", "steps": 1}}),)},
        "suite": {"suite": "quick"},
        "outcomes": {"outcomes": report.outcomes[1:]},
    }[differing]
    thresholds = Thresholds.parse({relative: 0.1})
    with pytest.raises(DataError, match="attacks" if differing == "suite" else differing):
        thresholds.judge(report, report.model_copy(update=other))


def test_a_defended_successor_is_compared_by_its_suite(measured):
    """The same suite runs adaptive forms there, and a naive attack beside them; another suite of that name is refused."""
    plain = measured(robust=10, suite_digest="sha256:s")
    naive = plain.attacks[0].model_copy(update={"name": "pgd from bare", "attack": {"kind": "transfer"}})
    defended = plain.model_copy(update={"attacks": (naive, plain.attacks[0])})
    assert "max_robust_drop" in words(Thresholds(max_robust_drop=0.9).judge(defended, plain))
    with pytest.raises(DataError, match="attacks"):
        Thresholds(max_robust_drop=0.9).judge(plain.model_copy(update={"suite_digest": "sha256:t"}), plain)


def test_a_report_without_outcomes_is_refused(measured):
    empty = measured(robust=10).model_copy(update={"outcomes": ()})
    with pytest.raises(DataError, match="0 and 0 outcomes"):
        Thresholds(min_robust_gain=0.1).judge(empty, empty)


def test_incomparable_baselines_do_not_matter_to_absolute_thresholds(measured):
    other = measured(robust=10).model_copy(update={"suite": "quick"})
    assert Thresholds(min_robust_accuracy=0.5).judge(measured(robust=100), other).verdict == "PASS"


def test_a_fault_of_the_harness_leaves_no_pass(measured):
    report = measured(robust=100, errors=("pgd: the verifier rejected 3 of its candidates",))
    verdict = Thresholds(min_robust_accuracy=0.5).judge(report)
    assert verdict.verdict == "INCONCLUSIVE"
    assert words(verdict) == {"min_robust_accuracy": "PASS", "sound": "INCONCLUSIVE"}
    assert "rejected 3" in verdict.checks[1].reason
    assert Thresholds(min_robust_gain=0.1).judge(measured(robust=100), report).checks[-1].reason.endswith("for the baseline")


@pytest.mark.parametrize("name", Thresholds.model_fields)
@pytest.mark.parametrize("value", [-0.01, 1.01, 65, "65%", math.nan, math.inf, True])
def test_thresholds_are_fractions(name, value):
    with pytest.raises(ConfigError, match=name):
        Thresholds.parse({name: value})


def test_an_unknown_threshold_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'min_robust_accuracy'"):
        Thresholds.from_yaml("min_robust_acuracy: 0.5")


def test_a_verdict_reloads(measured, tmp_path):
    verdict = Thresholds(min_robust_accuracy=0.5, max_clean_drop=0.1).judge(measured(outcomes=AFTER), measured(outcomes=BEFORE))
    verdict.save(tmp_path / "verdict.json")
    assert Verdict.load(tmp_path / "verdict.json") == verdict


def test_reasons_give_figures_samples_and_threshold(measured):
    verdict = Thresholds(min_robust_accuracy=0.55, max_clean_drop=0.02).judge(measured(outcomes=AFTER), measured(outcomes=BEFORE))
    robust, drop = (check.reason for check in verdict.checks)
    for part in ("50.0%", "on 100 samples", "55.0%", "linf eps 0.1", "straddles", "more samples would narrow it"):
        assert part in robust
    for part in ("-12.0%", "2.0%"):
        assert part in drop


def test_figures_that_cannot_be_believed_decide_nothing(measured):
    from martensite.evaluation.diagnostic import Diagnostic

    found = Diagnostic(name="flat_gradients", severity="invalid", evidence="all are zero", remedy="use another loss")
    for robust, alone in ((100, "PASS"), (0, "FAIL")):
        counts = {"robust": robust, "broken": 100 - robust}
        assert Thresholds(min_robust_accuracy=0.5).judge(measured(**counts)).verdict == alone
        verdict = Thresholds(min_robust_accuracy=0.5).judge(measured(**counts, diagnostics=(found,)))
        assert verdict.verdict == "INCONCLUSIVE"
        assert verdict.exit_code == 3
        assert "all are zero" in verdict.checks[-1].reason
    warned = measured(robust=100, diagnostics=(found.model_copy(update={"severity": "warning"}),))
    assert Thresholds(min_robust_accuracy=0.5).judge(warned).verdict == "PASS"


def test_a_regression_gate_compares_with_the_released_model(measured):
    released = measured(outcomes=["robust"] * 80 + ["broken"] * 20)
    gate = Thresholds(max_robust_drop=0.05)
    assert gate.judge(measured(outcomes=["robust"] * 82 + ["broken"] * 18), released).verdict == "PASS"
    assert gate.judge(measured(outcomes=["robust"] * 50 + ["broken"] * 50), released).verdict == "FAIL"
    assert gate.judge(measured(outcomes=["robust"] * 77 + ["broken"] * 23), released).verdict == "INCONCLUSIVE"


# Under several threat models: what withstands all of them.
L2 = ThreatModel(norm="l2", eps=0.5)


def both(measured, first, second, **changes):
    return union([measured(outcomes=first), measured(outcomes=second, threat=L2, **changes)])


def test_under_several_threat_models_robust_is_robust_to_all(measured):
    joined = both(measured, ["robust"] * 90 + ["broken"] * 10, ["broken"] * 60 + ["robust"] * 40)
    assert joined.union_accuracy.count == 30
    assert Thresholds(min_robust_accuracy=joined.union_accuracy.low).judge(joined).verdict == "PASS"
    failed = Thresholds(min_robust_accuracy=0.5, min_clean_accuracy=0.9).judge(joined)
    assert words(failed) == {"min_clean_accuracy": "PASS", "min_robust_accuracy": "FAIL"}
    assert "all of l2 eps 0.5 in [0, 1], linf eps 0.1 in [0, 1]" in failed.checks[1].reason


def test_what_is_invalid_under_one_threat_model_stands_against_all(measured):
    found = Diagnostic(name="noise_breaks", severity="invalid", evidence="noise breaks as many", remedy="attack harder")
    for changes, name in (({"diagnostics": (found,)}, "trustworthy"), ({"errors": ("a fault",)}, "sound")):
        judged = Thresholds(min_robust_accuracy=0.1).judge(both(measured, ["robust"] * 90, ["robust"] * 90, **changes))
        assert judged.verdict == "INCONCLUSIVE"
        assert words(judged) == {"min_robust_accuracy": "PASS", name: "INCONCLUSIVE"}


def test_unions_are_paired_where_their_threat_models_are_the_same(measured):
    before, after = both(measured, BEFORE, BEFORE), both(measured, AFTER, AFTER)
    thresholds, alone = Thresholds(min_robust_gain=0.1, max_clean_drop=0.5), (measured(outcomes=AFTER), measured(outcomes=BEFORE))
    assert thresholds.judge(after, before).checks == thresholds.judge(*alone).checks
    swapped = union(before.reports[::-1])
    assert thresholds.judge(after, swapped) == thresholds.judge(after, before)
    for other in (before.reports[0], union(before.reports[:1])):
        with pytest.raises(DataError, match="threat model"):
            thresholds.judge(after, other)
