"""A report as JUnit XML, which every CI shows: self-checks and canaries are test cases, and so are a gate's checks.

FAIL is a failure, and INCONCLUSIVE is an error: neither is green. In a comparison the first model is the reference: one that is
less robust beyond chance fails.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal
from xml.etree import ElementTree

from martensite.evaluation.compare import ComparisonReport
from martensite.evaluation.report import RobustnessReport, Verdict
from martensite.evaluation.union import UnionReport
from martensite.reporting.formats import p_value, points

Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Case = tuple[str, Word, str]  # name, outcome, reason
LEVEL = 0.05
TAGS = {"FAIL": "failure", "INCONCLUSIVE": "error"}
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 can't hold


def junit_xml(report: RobustnessReport | UnionReport | ComparisonReport, verdict: Verdict | None = None) -> str:
    """A ``<testsuite>``.

    Args:
        report: Its canaries, findings and faults; of a comparison the paired tests as well.
        verdict: A gate's checks of it, if it was judged.
    """
    cases = [(check.name, check.verdict, check.reason) for check in (() if verdict is None else verdict.checks)]
    if isinstance(report, RobustnessReport):
        return _suite(report, [*cases, *_cases(report)])
    named = zip(report.names, report.reports, strict=True) if isinstance(report, ComparisonReport) else _threats(report)
    cases += [(f"{name}: {case}", word, reason) for name, one in named for case, word, reason in _cases(one)]
    if isinstance(report, ComparisonReport):
        cases += _against_the_first(report)
    else:
        cases += [(f"all threat models: {case}", word, reason) for case, word, reason in _decided(report)]
    return _suite(report.reports[0], cases)


def _threats(report: UnionReport) -> Iterator[tuple[str, RobustnessReport]]:
    return ((str(one.threat), one) for one in report.reports)


def _against_the_first(report: ComparisonReport) -> Iterator[Case]:
    """Whether each later model is less robust than the first, beyond chance."""
    for pair in report.pairs:
        if pair.first == report.names[0]:
            worse = pair.robust.value > 0 and pair.p_robust < LEVEL
            gain, chance = points(-pair.robust.value), f"p {p_value(pair.p_robust)}"
            yield f"{pair.second}: no less robust than {pair.first}", "FAIL" if worse else "PASS", f"{gain} points, {chance}"


def _suite(report: RobustnessReport, cases: Sequence[Case]) -> str:
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(f"martensite {report.data.name} {report.suite}"),
        tests=str(len(cases)),
        failures=str(sum(word == "FAIL" for _, word, _ in cases)),
        errors=str(sum(word == "INCONCLUSIVE" for _, word, _ in cases)),
        time=f"{report.timing.get('total', 0.0):.3f}",
    )
    for name, word, reason in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="martensite", name=_clean(name))
        if word in TAGS:
            ElementTree.SubElement(case, TAGS[word], message=_clean(reason)).text = _clean(reason)
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(reason)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _cases(report: RobustnessReport) -> Iterator[Case]:
    yield from _decided(report)
    lost = report.outcomes.count("error")
    yield "measured", "INCONCLUSIVE" if lost else "PASS", f"{lost} of {report.data.n} samples could not be attacked"
    for canary in report.canaries:
        known = "to be noticed" if canary.expected is None else f"{canary.found} of {canary.n} robust, {canary.expected} in truth"
        yield f"canary {canary.name}", "PASS" if canary.passed else "INCONCLUSIVE", known
    for one in report.diagnostics:
        yield one.name, "INCONCLUSIVE" if one.severity == "invalid" else "PASS", f"{one.severity}: {one.evidence}; {one.remedy}"
    for warning in report.warnings:
        yield "warning", "PASS", warning
    for error in report.errors:
        yield "sound", "INCONCLUSIVE", error


def _decided(report: RobustnessReport | UnionReport) -> Iterator[Case]:
    if report.decided is not None:
        seen = f"after {report.decided.samples} of {report.decided.available} samples"
        yield f"at least {report.decided.at_least:.1%} robust", report.decided.verdict, seen


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
