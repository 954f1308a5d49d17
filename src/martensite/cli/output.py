"""What commands leave: one JSON document, or a table."""

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from martensite.cli.progress import plain, show
from martensite.evaluation.compare import ComparisonReport
from martensite.evaluation.corruption import CorruptionError
from martensite.evaluation.report import CertificationReport, Rate, RobustnessReport, Verdict
from martensite.evaluation.sandwich import SandwichReport
from martensite.evaluation.transferability import TransferMatrix
from martensite.evaluation.union import UnionReport
from martensite.reporting.words import access_sentence, decision_sentence, variation_sentence

if TYPE_CHECKING:
    from martensite.training.sweep import SweepResult

COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def robustness_table(*named: tuple[str, RobustnessReport]) -> Table:
    """Clean, each attack and worst case; a column a model."""
    first = named[0][1]
    table = Table(title=f"Accuracy under attack: {first.threat}, n = {first.data.n}", title_justify="left")
    table.add_column("")
    for name, _ in named:
        table.add_column(plain(name), justify="right")
    table.add_row("clean", *[str(report.clean_accuracy) for _, report in named])
    for row in range(len(first.attacks)):
        only = " (what was left)" if first.attacks[row].scope == "survivors" else ""
        beside = "" if first.attacks[row].in_threat else " (beside the threat model)"
        table.add_row(first.attacks[row].name + only + beside, *[_cell(report, first.attacks[row].name) for _, report in named])
    table.add_section()
    table.add_row("[bold]robust (worst case)", *[f"[bold]{report.robust_accuracy}" for _, report in named])
    return table


def _cell(report: RobustnessReport, name: str) -> str:
    return next((str(row.robust_accuracy) for row in report.attacks if row.name == name), "-")


def show_diagnostics(report: RobustnessReport) -> None:
    """What the self-checks found, and how the canaries did."""
    colours = {"invalid": "red", "warning": "yellow", "note": "dim"}
    for one in report.diagnostics:
        show(f"[{colours[one.severity]}]{one.severity}[/] {plain(f'{one.name}: {one.evidence}; {one.remedy}')}")
    if report.canaries:
        passed = sum(canary.passed for canary in report.canaries)
        show(f"Canaries: {passed} of {len(report.canaries)} passed.")
    if report.invalid:
        show("[red]INCONCLUSIVE[/]: while an invalid finding stands, these figures decide nothing.")


def show_trust(report: RobustnessReport) -> None:
    """All that bears on how far the figures can be trusted, and what was decided by them."""
    if report.access != "gradients":
        show(access_sentence(report.access))
    show_errors(report.errors)
    show_warnings(report.warnings)
    show_diagnostics(report)
    if report.decided is not None:
        show(decision_sentence(report.decided))


def show_beside(report: RobustnessReport) -> None:
    """What was measured beside the attacks: surrogates, seeds, corruptions, CLEVER, other norms."""
    for one in report.surrogates:
        asked = f", trained on {one.queries:,} of its answers" if one.queries else ""
        show(plain(f"Surrogate {one.name}: agrees with the model on {one.agreement} of the clean inputs{asked}."))
    if report.transfer is not None:
        show(transfer_table(report.transfer))
    if report.corruption is not None:
        found = report.corruption
        show(f"Mean corruption error {found.mean:.1%}, {found.rise:+.1%} against clean images; worst: {_worst(found)}.")
    for row in report.norms:
        middle = "more than any found" if row.minimal.median is None else f"{row.minimal.median:.4g}"
        show(plain(f"Median distance in {row.norm} ({row.attack['kind']}): {middle}."))
    if report.clever is not None:
        n, radius = len(report.clever.scores), report.clever.radius
        show(f"CLEVER on {n} samples: median {report.clever.median:.4g}, within a radius of {radius:.4g}; an estimate, no bound.")
    if report.variation is not None and report.variation.deviation is not None:
        show(variation_sentence(report.variation))


def transfer_table(matrix: TransferMatrix) -> Table:
    """Rows: searched; columns: judged."""
    title = f"Transfer of {matrix.attack['kind']}: what was made on the row breaks the column"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in matrix.names:
        table.add_column(plain(name), justify="right")
    for name, row in zip(matrix.names, matrix.rates, strict=True):
        table.add_row(plain(name), *["-" if rate is None else str(rate) for rate in row])
    return table


def _worst(found: CorruptionError) -> str:
    rows = sorted(found.rows, key=lambda row: -row.mean)[:3]
    return ", ".join(f"{row.kind} {row.mean:.1%}" for row in rows)


def show_union(report: UnionReport) -> None:
    """The worst of several threat models, sample by sample."""
    show(f"[bold]Union of {len(report.reports)} threat models: {report.union_accuracy}[/] withstand all of them.")
    if report.decided is not None:
        show(f"{decision_sentence(report.decided)}, of all threat models together")


def comparison_table(report: ComparisonReport) -> Table:
    """A row a pair: differences with intervals and corrected p-values."""
    table = Table(title=f"Paired differences, n = {report.reports[0].data.n}", title_justify="left")
    for name in ("", "clean", "p", "robust", "p"):
        table.add_column(name, justify="right" if name else "left")
    for pair in report.pairs:
        cells = [f"{one.value:+.1%} [{one.low:+.1%}, {one.high:+.1%}]" for one in (pair.clean, pair.robust)]
        title = plain(f"{pair.first} - {pair.second}")
        table.add_row(title, cells[0], f"{pair.p_clean:.2g}", cells[1], f"{pair.p_robust:.2g}")
    errors = [f"{name} {one:.2f}" for name, one in zip(report.names, report.corruption, strict=False) if one is not None]
    beside = f"\nmean corruption error relative to {report.names[0]}: {', '.join(errors)}" if errors else ""
    table.caption = plain(f"McNemar's exact test, corrected for the number of pairs (Holm){beside}")
    table.caption_justify = "left"
    return table


def trade_table(threat: str, clean_before: Rate, clean_after: Rate, robust_before: Rate, robust_after: Rate) -> Table:
    """What hardening traded, on validation data."""
    table = Table(title=f"Validation accuracy: {plain(threat)}, n = {clean_before.n}", title_justify="left")
    for name in ("", "before", "after"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("clean", str(clean_before), str(clean_after))
    table.add_row("[bold]robust", f"[bold]{robust_before}", f"[bold]{robust_after}")
    return table


def sweep_table(result: "SweepResult", threat: str) -> Table:
    """A row a point, the most robust first; what is on the Pareto front has a star, what is chosen is bold."""
    table = Table(title=f"Sweep: validation accuracy under {plain(threat)}, n = {result.samples}", title_justify="left")
    for name in ("", "clean", "robust", "epochs", "cost", ""):
        table.add_column(name, justify="right" if name else "left")
    clean, robust = (Rate.of(round(value * result.samples), result.samples) for value in result.start)
    table.add_row("before", str(clean), str(robust), "", "")
    table.add_section()
    for place, one in sorted(enumerate(result.outcomes), key=lambda item: -item[1].robust):
        rates = [str(Rate.of(round(value * result.samples), result.samples)) for value in (one.clean, one.robust)]
        note = "failed" if one.failure else "stopped early" if one.stopped else ""
        note = "chosen" if place == result.chosen else note
        label = f"{plain(one.point)}{' *' if place in result.front else ''}"
        cells = [label, *(rates if not one.failure else ["", ""]), str(one.epochs), f"{one.cost:.1f}", note]
        table.add_row(*cells, style="bold" if place == result.chosen else "")
    table.caption = "* Pareto front of clean accuracy, robust accuracy and cost (standard epochs of passes)"
    table.caption_justify = "left"
    return table


def show_certificates(report: CertificationReport) -> None:
    """Certified accuracy at a few radii."""
    table = Table(title=f"Certified accuracy ({report.norm}), n = {report.data.n}", title_justify="left")
    table.add_column("radius", justify="right")
    table.add_column("certified", justify="right")
    for point in report.certified[:: max(1, len(report.certified) // 6)]:
        table.add_row(f"{point.eps:.3f}", str(point.accuracy))
    show(table)
    mean, spent = report.samples / report.data.n, "bounds were computed" if report.margins else "model evaluations were spent"
    show(f"{report.abstained} of {report.data.n} samples have no certificate; {report.samples:,} {spent}, {mean:,.0f} a sample.")
    if report.agreement:
        ranked = sorted(report.agreement)
        low, middle = ranked[len(ranked) // 20], ranked[len(ranked) // 2]
        show(f"Share of votes for the guessed class (p_A): median {middle:.3f}, 5 % of samples below {low:.3f}.")
    if report.record is not None and report.record.radius is None:
        show(f"Average certified radius {report.average_radius:.3f}; easy samples dominate it, so compare curves.")


def show_sandwich(report: SandwichReport) -> None:
    """Certified, empirical and clean accuracy, of the same samples."""
    table = Table(title=f"Accuracy of the same samples: {report.threat}, n = {report.data.n}", title_justify="left")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_row("clean", str(report.clean))
    table.add_row(f"withstands {report.attack['kind']}", str(report.robust))
    table.add_row(f"certified by {report.certification.method['kind']}", str(report.certified))
    show(table)
    open_ = report.robust.count - report.certified.count
    show(f"{open_} of {report.data.n} samples are neither certified nor broken; no certified sample was broken.")


def show_verdict(verdict: Verdict) -> None:
    """The verdict and the reason for every check."""
    show(f"[bold {COLOURS[verdict.verdict]}]{verdict.verdict}[/]")
    for check in verdict.checks:
        show(f"  [{COLOURS[check.verdict]}]{check.verdict:<12}[/] {plain(check.reason)}")


def show_errors(errors: tuple[str, ...]) -> None:
    """What makes a report no evidence."""
    for error in errors:
        show(f"[red]error[/] {plain(error)}")


def show_warnings(warnings: tuple[str, ...]) -> None:
    """What bears on trust."""
    for warning in warnings:
        show(f"[yellow]warning[/] {plain(warning)}")
