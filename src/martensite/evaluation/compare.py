"""Several models on the same samples: paired differences, and whether they could be chance."""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

from martensite.core.config import Config
from martensite.core.errors import DataError
from martensite.evaluation.corruption import relative_corruption_error
from martensite.evaluation.paired import Difference, difference, holm
from martensite.evaluation.report import Report, RobustnessReport
from martensite.evaluation.transferability import TransferMatrix


class PairRow(Config):
    """Two of the models.

    Attributes:
        first, second: Their names; differences are (first) - (second).
        clean: Of clean accuracy.
        robust: Of robust accuracy.
        p_clean, p_robust: McNemar's, corrected for the number of pairs (Holm).
    """

    first: str
    second: str
    clean: Difference
    robust: Difference
    p_clean: float
    p_robust: float


class ComparisonReport(Report):
    """Reports side by side.

    Attributes:
        names: Of the models.
        reports: In the same order.
        pairs: Every two of them.
        training: Passes of each model's training, in those of a standard epoch; None where it isn't known, empty if nobody said.
        transfer: How far adversarials of each break the others; None: not measured.
        corruption: Of each model the mean corruption error relative to the first one's (`relative_corruption_error`); None where
            it was not measured alike. Empty in reports of older versions.
    """

    schema_version: Literal[1] = 1
    names: tuple[str, ...]
    reports: tuple[RobustnessReport, ...]
    pairs: tuple[PairRow, ...]
    training: tuple[float | None, ...] = ()
    transfer: TransferMatrix | None = None
    corruption: tuple[float | None, ...] = ()


def compare(
    named: Mapping[str, RobustnessReport],
    training: Mapping[str, float | None] | None = None,
    transfer: TransferMatrix | None = None,
) -> ComparisonReport:
    """Compare models that were evaluated alike.

    Args:
        named: At least two.
        training: What each one's training cost, in standard epochs of passes.
        transfer: Between these models.

    Raises:
        DataError: fewer than two, or reports that differ in samples, threat model or suite.
    """
    if len(named) < 2:
        raise DataError(f"{len(named)} report was given", "a comparison needs two", "give another report")
    first_name, first = next(iter(named.items()))
    for name, report in named.items():
        differing = [
            what
            for what, mine, theirs in (
                ("data", first.data.digest, report.data.digest),
                ("threat model", first.threat, report.threat),
                ("suite", first.suite, report.suite),
                ("the suite's parameters", first.suite_digest or report.suite_digest, report.suite_digest or first.suite_digest),
                ("access", first.access, report.access),
                ("number of outcomes", len(first.outcomes), len(report.outcomes)),
            )
            if mine != theirs
        ]
        if differing:
            raise DataError(
                f"{first_name} and {name} differ in {' and '.join(differing)}",
                "a comparison needs the same samples and attacks",
                "evaluate both models alike",
            )
    pairs = list(combinations(named.items(), 2))
    clean = [difference(_clean(a), _clean(b)) for (_, a), (_, b) in pairs]
    robust = [difference(_robust(a), _robust(b)) for (_, a), (_, b) in pairs]
    corrected = holm([one.p for one in clean]), holm([one.p for one in robust])
    return ComparisonReport(
        names=tuple(named),
        reports=tuple(named.values()),
        pairs=tuple(
            PairRow(
                first=a,
                second=b,
                clean=clean[place],
                robust=robust[place],
                p_clean=corrected[0][place],
                p_robust=corrected[1][place],
            )
            for place, ((a, _), (b, _)) in enumerate(pairs)
        ),
        training=() if training is None else tuple(training.get(name) for name in named),
        transfer=transfer,
        corruption=tuple(_against(first, one) for one in named.values()),
    )


def _against(first: RobustnessReport, one: RobustnessReport) -> float | None:
    if first.corruption is None or one.corruption is None:
        return None
    try:
        return relative_corruption_error(one.corruption, first.corruption)
    except DataError:
        return None


def _clean(report: RobustnessReport) -> list[bool]:
    """An error may be an attack's, or the clean input's own: it counts as correct only if the figures say so of all of them."""
    right = [outcome != "misclassified" for outcome in report.outcomes]
    if sum(right) != report.clean_accuracy.count:
        right = [outcome in ("robust", "broken") for outcome in report.outcomes]
    return right


def _robust(report: RobustnessReport) -> list[bool]:
    return [outcome == "robust" for outcome in report.outcomes]
