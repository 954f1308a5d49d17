"""A report as a short piece of Markdown, for a comment on a pull request."""

import re

from martensite.evaluation.report import Rate, RobustnessReport
from martensite.reporting.formats import count, interval, percent
from martensite.reporting.words import robust_sentence

MARKS = {"invalid": "**invalid**", "warning": "warning", "note": "note"}


def markdown_summary(report: RobustnessReport) -> str:
    """Figures, table of attacks and findings; names that come from outside can't break the table or become markup."""
    head = f"### Robust accuracy {percent(report.robust_accuracy.value)} ({_text(report.data.name)}, {_text(str(report.threat))})"
    stand = "\n\n**INCONCLUSIVE**: a self-check found these figures invalid." if report.invalid or report.errors else ""
    rows = [("none (clean accuracy)", report.clean_accuracy, "")]
    rows += [
        (
            row.name,
            row.robust_accuracy,
            "" if row.in_threat and row.scope == "all" else "what was left" if row.in_threat else "beside the threat model",
        )
        for row in report.attacks
    ]
    rows.append(("**worst case**", report.robust_accuracy, ""))
    table = ["| attack | accuracy | interval | on |", "| --- | ---: | ---: | --- |"]
    table += [_row(name, rate, note) for name, rate, note in rows]
    findings = [
        f"- {MARKS[one.severity]} {_text(one.name)}: {_text(one.evidence)}. {_text(one.remedy)}." for one in report.diagnostics
    ]
    findings += [f"- **invalid** {_text(error)}" for error in report.errors]
    parts = [
        head + stand,
        robust_sentence(report, "the model"),
        "\n".join(table),
        "\n".join(findings),
        f"Suite {_text(report.suite)}, {count(report.data.n)} samples, seed {report.seed}, adversary with {report.access}, "
        f"model `{_text(report.model_digest[:19])}`, martensite {_text(report.environment.martensite)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(name: str, rate: Rate, note: str) -> str:
    shown = name if name.startswith("**") else _text(name)
    return f"| {shown} | {percent(rate.value)} | {interval(rate)} | {note} |"


def _text(text: str) -> str:
    """On one line, with whatever means something to Markdown or HTML escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
