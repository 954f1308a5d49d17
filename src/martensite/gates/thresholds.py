"""A gate on measured robustness: each threshold is judged by the whole interval, not by the point estimate."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from martensite.core.acts import Act, recorded
from martensite.core.config import Config
from martensite.core.errors import DataError
from martensite.evaluation.intervals import paired_difference
from martensite.evaluation.report import Check, Rate, RobustnessReport, Verdict
from martensite.evaluation.union import UnionReport

Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Measured = RobustnessReport | UnionReport


def _judged(given: Mapping[str, Any], verdict: Verdict | None) -> Act:
    details = given["self"].model_dump(mode="json", exclude_none=True)
    return Act("model", given["report"].model_digest, "", "done" if verdict is None else verdict.verdict, details)


class Thresholds(Config):
    """What a hardened model must reach; a threshold left out is not checked.

    Args:
        min_clean_accuracy: In [0, 1].
        min_robust_accuracy: In [0, 1], worst case over the suite's attacks.
        max_clean_drop: Most clean accuracy that hardening may cost against the baseline, in [0, 1].
        min_robust_gain: Least robust accuracy that hardening must gain against the baseline, in [0, 1].
        max_robust_drop: Most robust accuracy that may be lost against the baseline, e.g. the released model, in [0, 1].
    """

    min_clean_accuracy: float | None = Field(default=None, ge=0.0, le=1.0)
    min_robust_accuracy: float | None = Field(default=None, ge=0.0, le=1.0)
    max_clean_drop: float | None = Field(default=None, ge=0.0, le=1.0)
    min_robust_gain: float | None = Field(default=None, ge=0.0, le=1.0)
    max_robust_drop: float | None = Field(default=None, ge=0.0, le=1.0)

    @recorded("gate", _judged)
    def judge(self, report: Measured, baseline: Measured | None = None) -> Verdict:
        """PASS, FAIL or INCONCLUSIVE, with a reason for every threshold.

        Args:
            report: Of the model that is to go out. Under several threat models robust means robust to all of them.
            baseline: Of the model before hardening, on the same samples and threat models.

        Raises:
            DataError: the two reports aren't comparable, or a relative threshold has no baseline.
        """
        checks = []
        if self.min_clean_accuracy is not None:
            checks.append(_at_least("min_clean_accuracy", "clean accuracy", report.clean_accuracy, self.min_clean_accuracy))
        if self.min_robust_accuracy is not None:
            name = f"robust accuracy ({_threat(report)})"
            checks.append(_at_least("min_robust_accuracy", name, report.robust_accuracy, self.min_robust_accuracy))
        drops: tuple[tuple[str, Literal["clean", "robust"], float | None], ...] = (
            ("max_clean_drop", "clean", self.max_clean_drop),
            ("max_robust_drop", "robust", self.max_robust_drop),
        )
        for name, kind, most in drops:
            if most is not None:
                low, high, value = _difference(_comparable(report, baseline), report, kind)
                word: Word = "PASS" if high <= most else "FAIL" if low > most else "INCONCLUSIVE"
                change = f"{0.0 - value:+.1%} [{0.0 - high:+.1%}, {0.0 - low:+.1%}]"
                reason = f"{kind} accuracy changed by {change}; a fall of at most {most:.1%} is allowed"
                checks.append(Check(name=name, verdict=word, reason=reason))
        if self.min_robust_gain is not None:
            low, high, value = _difference(report, _comparable(report, baseline), "robust")
            least = self.min_robust_gain
            word = "PASS" if low >= least else "FAIL" if high < least else "INCONCLUSIVE"
            reason = f"robust accuracy gained {value:.1%} [{low:.1%}, {high:.1%}]; at least {least:.1%} is needed"
            checks.append(Check(name="min_robust_gain", verdict=word, reason=reason))
        relative = self.min_robust_gain is not None or self.max_robust_drop is not None
        # An error counts as not robust: that is cautious of a model, but of its baseline it would make any gain look larger.
        for whose, judged in (("", report), (" for the baseline", baseline if relative else None)):
            if judged is not None and (errors := judged.outcomes.count("error")):
                reason = f"{errors} of {len(judged.outcomes)} samples could not be attacked{whose}"
                checks.append(Check(name="complete", verdict="INCONCLUSIVE", reason=reason))
            if judged is not None and judged.errors:
                checks.append(Check(name="sound", verdict="INCONCLUSIVE", reason=f"{judged.errors[0]}{whose}"))
            if judged is not None:
                checks += [
                    Check(name="trustworthy", verdict="INCONCLUSIVE", reason=f"{one.evidence}{whose}; {one.remedy}")
                    for one in judged.invalid
                ]
        if not checks:
            checks.append(
                Check(name="thresholds", verdict="INCONCLUSIVE", reason="no threshold was given, so nothing was decided")
            )
        words = {check.verdict for check in checks}
        overall: Word = "FAIL" if "FAIL" in words else "INCONCLUSIVE" if "INCONCLUSIVE" in words else "PASS"
        if any(check.name == "trustworthy" for check in checks):  # figures that can't be believed decide nothing, not even FAIL
            overall = "INCONCLUSIVE"
        return Verdict(verdict=overall, checks=tuple(checks))


def _at_least(name: str, what: str, rate: Rate, threshold: float) -> Check:
    word: Word = "PASS" if rate.low >= threshold else "FAIL" if rate.high < threshold else "INCONCLUSIVE"
    how = {
        "PASS": "the whole interval clears",
        "FAIL": "the whole interval is below",
        "INCONCLUSIVE": "the interval straddles",
    }[word]
    more = "; more samples would narrow it" if word == "INCONCLUSIVE" else ""
    return Check(name=name, verdict=word, reason=f"{what} is {rate} on {rate.n} samples: {how} {threshold:.1%}{more}")


def _threat(report: Measured) -> str:
    return f"all of {', '.join(report.threats)}" if isinstance(report, UnionReport) else str(report.threat)


def _comparable(report: Measured, baseline: Measured | None) -> Measured:
    if baseline is None:
        raise DataError("no baseline report was given", "a relative threshold compares with one", "give --baseline REPORT")
    named = not (report.suite_digest and baseline.suite_digest)  # older reports don't say what their suite was
    ours, theirs = _subject(report, named), _subject(baseline, named)
    if differing := [name for name in ours if ours[name] != theirs[name]]:
        raise DataError(
            f"the two reports differ in {' and '.join(differing)}",
            "a comparison needs the same samples and attacks",
            "evaluate both models alike",
        )
    if not 0 < len(report.outcomes) == len(baseline.outcomes):
        raise DataError(
            f"the reports hold {len(report.outcomes)} and {len(baseline.outcomes)} outcomes",
            "a comparison needs both outcomes of every sample",
            "evaluate both models again",
        )
    return baseline


def _subject(report: Measured, named: bool) -> dict[str, Any]:
    if isinstance(report, UnionReport):
        each = sorted((_subject(one, named) for one in report.reports), key=lambda one: str(one["threat model"]))
        return {what: [one[what] for one in each] for what in each[0]} | {"data": report.data.digest}
    # By the suite, not by what ran: of a defended model the same suite runs adaptive forms, and a naive attack beside them.
    attacks = [row.attack for row in report.attacks] if named else report.suite_digest
    return {"data": report.data.digest, "threat model": report.threat, "attacks": (report.suite, attacks)}


def _difference(first: Measured, second: Measured, kind: Literal["clean", "robust"]) -> tuple[float, float, float]:
    """95 % interval and value of (rate of the first) - (rate of the second), paired by sample."""

    def holds(outcome: str) -> bool:
        return outcome == "robust" if kind == "robust" else outcome != "misclassified"

    pairs = [(holds(a), holds(b)) for a, b in zip(first.outcomes, second.outcomes, strict=True)]
    both, one, other = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    low, high = paired_difference(both, one, other, len(pairs) - both - one - other)
    return low, high, (one - other) / len(pairs)
