"""Why a measurement may be believed, or not, in a few plain sentences: what stands at the top of its page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from martensite.evaluation.report import RobustnessReport
from martensite.evaluation.union import UnionReport
from martensite.reporting.formats import count, p_value, percent
from martensite.reporting.words import check_name, sentence

Mark = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "CAUTION", "SOUND", "NOTE"]


@dataclass(frozen=True)
class Reason:
    """One of them: a word that can be seen from afar, what it is about, and the sentence."""

    mark: Mark
    title: str
    text: str


def reasons(report: RobustnessReport) -> list[Reason]:
    """What a reader has to know before the first figure."""
    return [
        *decided(report),
        *_trust(report),
        *_defence(report),
        *_strongest(report),
        *_weakest_class(report),
        *_adversary(report),
    ]


def decided(report: RobustnessReport | UnionReport) -> Iterator[Reason]:
    """What the run was to decide."""
    if report.decided is None:
        return
    seen = f"after {count(report.decided.samples)} of {count(report.decided.available)} samples"
    if report.invalid or report.errors:
        text = f"Stopped {seen}; nothing is decided while a finding that makes the figures invalid stands."
    elif report.decided.verdict == "INCONCLUSIVE":
        text = f"Undecided {seen}; the interval holds however the run came to stop."
    else:
        text = f"Decided {seen}; the interval holds however the run came to stop."
    yield Reason(report.decided.verdict, f"At least {percent(report.decided.at_least)} robust", text)


def _trust(report: RobustnessReport) -> Iterator[Reason]:
    for error in report.errors:
        yield Reason("INVALID", "A fault of the harness", f"{sentence(error.rstrip('.'))}.")
    for one in report.invalid:
        yield Reason("INVALID", check_name(one.name), f"{sentence(one.evidence)}. While this stands, the figures decide nothing.")
    if report.errors or report.invalid:
        return
    doubts = [check_name(one.name).lower() for one in report.diagnostics if one.severity == "warning"]
    doubts += [f"{len(report.warnings)} warning{'s' * (len(report.warnings) > 1)}"] if report.warnings else []
    sung = f"The suite got {sum(one.passed for one in report.canaries)} of {len(report.canaries)} canaries right"
    known = f"{sung}: built-in models whose robust accuracy is known." if report.canaries else "No canary was run."
    if doubts:
        yield Reason("CAUTION", "Self-checks", f"The figures may be off: {', '.join(doubts)}. {known}")
    else:
        yield Reason("SOUND", "Self-checks", f"Nothing was found against the figures. {known}")


def _defence(report: RobustnessReport) -> Iterator[Reason]:
    """The figure of attackers who don't know the defence says how it surprises, not how robust it is."""
    found = report.defence
    if found is None:
        return
    text = f"Around the model stand: {', '.join(found.names)}."
    if found.naive is not None:
        text += f" Attackers who don't know of it left {percent(found.naive.value)}"
        text += f", those who do {percent(report.robust_accuracy.value)}." if found.adaptive else "."
    if not found.adaptive:
        text += " No attack was adapted to it, so nothing is known of those who do."
    if found.refused is not None:
        text += f" It refuses {percent(found.refused.value)} of the clean inputs."
    yield Reason("NOTE" if found.adaptive else "CAUTION", "Defences", text)


def _strongest(report: RobustnessReport) -> Iterator[Reason]:
    rows = [row for row in report.attacks if row.in_threat and row.scope == "all"]
    if not rows:
        return
    best, worst = (choose(rows, key=lambda row: row.robust_accuracy.value) for choose in (min, max))
    text = f"Alone, {best.name} left {percent(best.robust_accuracy.value)}"
    if best is not worst:
        text += f", {worst.name} {percent(worst.robust_accuracy.value)}"
    text += f". Sample by sample all attacks together left {percent(report.robust_accuracy.value)}."
    yield Reason("NOTE", "Strongest attack", text)


def _weakest_class(report: RobustnessReport) -> Iterator[Reason]:
    if len(report.classes) < 2:
        return
    worst = min(report.classes, key=lambda row: row.robust_accuracy.value)
    text = f"Class {worst.name} keeps {percent(worst.robust_accuracy.value)} of its {count(worst.robust_accuracy.n)} samples"
    chance = f"p\N{NO-BREAK SPACE}{p_value(worst.p)}"
    if worst.flagged:
        yield Reason("CAUTION", "Weakest class", f"{text}: it is weaker than the others beyond chance ({chance}).")
    else:
        yield Reason("NOTE", "Weakest class", f"{text}; so much may be chance ({chance}).")


def _adversary(report: RobustnessReport) -> Iterator[Reason]:
    if report.access != "gradients":
        yield Reason(
            "NOTE", "Queries only", f"The adversary saw {report.access} and no gradients: one who has the weights may do better."
        )
