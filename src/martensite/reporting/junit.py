"""A report as JUnit XML, which every CI shows: self-checks and canaries are test cases, and so are a gate's checks.

FAIL is a failure, and INCONCLUSIVE is an error: neither is green.
"""

import re
from collections.abc import Iterator
from typing import Literal
from xml.etree import ElementTree

from martensite.evaluation.report import RobustnessReport, Verdict

Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]
TAGS = {"FAIL": "failure", "INCONCLUSIVE": "error"}
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 can't hold


def junit_xml(report: RobustnessReport, verdict: Verdict | None = None) -> str:
    """A ``<testsuite>``.

    Args:
        report: Its canaries, findings and faults.
        verdict: A gate's checks of it, if it was judged.
    """
    cases = list(_cases(report, verdict))
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


def _cases(report: RobustnessReport, verdict: Verdict | None) -> Iterator[tuple[str, Word, str]]:
    for check in () if verdict is None else verdict.checks:
        yield check.name, check.verdict, check.reason
    lost = report.outcomes.count("error")
    yield "measured", "INCONCLUSIVE" if lost else "PASS", f"{lost} of {report.data.n} samples could not be attacked"
    for canary in report.canaries:
        known = "to be noticed" if canary.expected is None else f"{canary.found} of {canary.n} robust, {canary.expected} in truth"
        yield f"canary {canary.name}", "PASS" if canary.passed else "INCONCLUSIVE", known
    for one in report.diagnostics:
        yield one.name, "INCONCLUSIVE" if one.severity == "invalid" else "PASS", f"{one.severity}: {one.evidence}; {one.remedy}"
    for error in report.errors:
        yield "sound", "INCONCLUSIVE", error


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
