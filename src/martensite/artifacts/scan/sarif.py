"""A scan as SARIF 2.1.0, which code hosts show beside the files.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from typing import Any
from urllib.parse import quote

from martensite.artifacts.scan.report import Finding, ScanReport

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"dangerous": "error", "suspicious": "warning", "unjudged": "note", "clean": "none"}


def to_sarif(report: ScanReport, version: str) -> dict[str, Any]:
    """The report as one SARIF document.

    Args:
        report: Of a scan.
        version: Of this package.
    """
    kinds = sorted({finding.kind for finding in report.findings})
    driver = {
        "name": "martensite scan",
        "version": version,
        "rules": [{"id": kind, "shortDescription": {"text": kind.replace("-", " ")}} for kind in kinds],
    }
    judged = all(finding.severity != "unjudged" for finding in report.findings)
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": report.exit_code}],
        "properties": {"severity": report.severity, "everythingJudged": judged},
        "results": [_result(finding, kinds) for finding in report.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding, kinds: list[str]) -> dict[str, Any]:
    outer, _, member = finding.path.partition("!")
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": quote(outer)}}}
    if member:
        location["logicalLocations"] = [{"fullyQualifiedName": member, "kind": "member"}]
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.path}: {finding.reason}. {finding.remedy}".rstrip(". ") + "."},
        "locations": [location],
        "properties": {"severity": finding.severity},
    }
