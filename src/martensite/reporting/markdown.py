"""A report as a short piece of Markdown, for a comment on a pull request."""

import re

from martensite.evaluation.anytime import Decision
from martensite.evaluation.compare import ComparisonReport
from martensite.evaluation.report import Rate, RobustnessReport
from martensite.evaluation.union import UnionReport
from martensite.reporting.formats import MINUS, count, interval, p_value, percent, points
from martensite.reporting.words import access_sentence, decision_sentence, robust_sentence, variation_sentence

MARKS = {"invalid": "**invalid**", "warning": "warning", "note": "note"}


def markdown_summary(report: RobustnessReport | UnionReport | ComparisonReport) -> str:
    """The summary of a report of any of these kinds."""
    if isinstance(report, UnionReport):
        return _union(report)
    if isinstance(report, ComparisonReport):
        return _comparison(report)
    return _evaluation(report)


def _union(report: UnionReport) -> str:
    """Robust accuracy under each threat model and under all, then each of them."""
    first = report.reports[0]
    rows = [(str(one.threat), one.robust_accuracy, "") for one in report.reports]
    table = ["| threat model | robust accuracy | interval | |", "| --- | ---: | ---: | --- |"]
    table += [_row(name, rate, note) for name, rate, note in [*rows, ("**all of them**", report.union_accuracy, "")]]
    threats = f"{len(report.reports)} threat models"
    head = f"### {percent(report.union_accuracy.value)} robust to all of {threats} ({_text(first.data.name)})"
    decided = [] if report.decided is None else [f"{_decided(report.decided)}, of all threat models together."]
    return "\n\n".join([head, *decided, "\n".join(table), *(_evaluation(one, "####") for one in report.reports)])


def _comparison(report: ComparisonReport) -> str:
    """Models, then pairs with their tests."""
    models = ["| model | clean | robust | interval |", "| --- | ---: | ---: | ---: |"]
    for name, one in zip(report.names, report.reports, strict=True):
        stand = " **invalid**" if one.invalid or one.errors else ""
        robust, clean = one.robust_accuracy, percent(one.clean_accuracy.value)
        models.append(f"| {_text(name)}{stand} | {clean} | {percent(robust.value)} | {interval(robust)} |")
    tests = ["| pair | clean | p | robust | p |", "| --- | ---: | ---: | ---: | ---: |"]
    for pair in report.pairs:
        cells = [f"{points(one.value)} ({points(one.low)} to {points(one.high)})" for one in (pair.clean, pair.robust)]
        title = f"{_text(pair.first)} {MINUS} {_text(pair.second)}"
        tests.append(f"| {title} | {cells[0]} | {p_value(pair.p_clean)} | {cells[1]} | {p_value(pair.p_robust)} |")
    first = report.reports[0]
    return "\n\n".join([
        f"### {len(report.names)} models compared ({_text(first.data.name)}, {_text(str(first.threat))})",
        "\n".join(models),
        "\n".join(tests),
        *filter(None, [access_sentence(first.access)]),
        f"Differences are in points, paired by sample, with 95 % intervals; p is McNemar's, corrected for {len(report.pairs)} "
        f"pair{'s' * (len(report.pairs) > 1)}. Suite {_text(first.suite)}, {count(first.data.n)} samples, seed {first.seed}.",
    ]) + "\n"  # fmt: skip


def _evaluation(report: RobustnessReport, level: str = "###") -> str:
    """Figures, table of attacks and findings; names that come from outside can't break the table or become markup."""
    about = f"({_text(report.data.name)}, {_text(str(report.threat))})"
    head = f"{level} Robust accuracy {percent(report.robust_accuracy.value)} {about}"
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
    findings += [f"- warning: {_text(warning)}" for warning in report.warnings]
    findings += [f"- **invalid** {_text(error)}" for error in report.errors]
    parts = [
        head + stand,
        "" if report.decided is None else f"{_decided(report.decided)}.",
        robust_sentence(report, "the model"),
        access_sentence(report.access),
        "\n".join(table),
        "" if report.variation is None else variation_sentence(report.variation),
        "\n".join(findings),
        f"Suite {_text(report.suite)}, {count(report.data.n)} samples, seed {report.seed}, adversary with {report.access}, "
        f"model `{_text(report.model_digest[:19])}`, martensite {_text(report.environment.martensite)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _decided(decision: Decision) -> str:
    word, _, rest = decision_sentence(decision).partition(":")
    return f"**{word}**:{rest}"


def _row(name: str, rate: Rate, note: str) -> str:
    shown = name if name.startswith("**") else _text(name)
    return f"| {shown} | {percent(rate.value)} | {interval(rate)} | {note} |"


def _text(text: str) -> str:
    """On one line, with whatever means something to Markdown or HTML escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
