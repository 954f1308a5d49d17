"""Several threat models at once: a sample counts as robust only if it withstands all of them.

Tramer and Boneh 2019, "Adversarial training and robustness for multiple perturbations", arXiv:1904.13000, sec. 2 (the "max"
strategy: an adversary who may choose among the perturbation types for each sample).
"""

from collections.abc import Sequence
from typing import Literal

from martensite.core.errors import DataError
from martensite.evaluation.anytime import Decision
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.report import DataRecord, Outcome, Rate, Report, RobustnessReport

WORST: tuple[Outcome, ...] = ("misclassified", "broken", "error", "robust")  # whichever comes first is the sample's


class UnionReport(Report):
    """One model and dataset, several threat models.

    What gates and leaderboards ask of a single report is here under the same names, of the union.

    Attributes:
        reports: One a threat model, on the same samples in the same order.
        union_accuracy: Share of the samples that are robust under every one of them.
        outcomes: One a sample: broken if any threat model broke it, an error if none did and one could not be measured.
        decision: Where the run was to stop as soon as it is sure whether so many withstand all of them; None also in reports of
            older versions.
    """

    schema_version: Literal[1] = 1
    reports: tuple[RobustnessReport, ...]
    union_accuracy: Rate
    outcomes: tuple[Outcome, ...]
    decision: Decision | None = None

    @property
    def model_digest(self) -> str:
        """Of the one model."""
        return self.reports[0].model_digest

    @property
    def data(self) -> DataRecord:
        """The one set of samples."""
        return self.reports[0].data

    @property
    def suite(self) -> str:
        """The name of the one suite."""
        return self.reports[0].suite

    @property
    def suite_digest(self) -> str | None:
        """Of the one suite."""
        return self.reports[0].suite_digest

    @property
    def threats(self) -> tuple[str, ...]:
        """The threat models, in an order that doesn't depend on how they were given."""
        return tuple(sorted(str(one.threat) for one in self.reports))

    @property
    def access(self) -> Literal["gradients", "scores", "decisions"]:
        """What the adversary was taken to see of the model."""
        return self.reports[0].access

    @property
    def clean_accuracy(self) -> Rate:
        """Without an attack, which no threat model changes."""
        return self.reports[0].clean_accuracy

    @property
    def robust_accuracy(self) -> Rate:
        """``union_accuracy``."""
        return self.union_accuracy

    @property
    def invalid(self) -> tuple[Diagnostic, ...]:
        """What stands against any of the reports stands against their union; what they share is there once."""
        return tuple(dict.fromkeys(finding for one in self.reports for finding in one.invalid))

    @property
    def errors(self) -> tuple[str, ...]:
        """Faults of the harness under any threat model."""
        return tuple(dict.fromkeys(error for one in self.reports for error in one.errors))

    @property
    def decided(self) -> Decision | None:
        """The decision as it stands: INCONCLUSIVE while an invalid finding or a fault stands against any of the reports."""
        return None if self.decision is None else self.decision.doubted(bool(self.invalid or self.errors))


def union(reports: Sequence[RobustnessReport]) -> UnionReport:
    """Join reports about the same samples of one model.

    Raises:
        DataError: they are about different samples, as those of runs that each stopped when it was sure for itself.
    """
    counts = [len(report.outcomes) for report in reports]
    if len({report.data.digest for report in reports}) > 1 or len(set(counts)) > 1:
        raise DataError(
            f"reports are about different samples ({', '.join(map(str, counts))} of them)",
            "a sample counts as robust only if it withstands every threat model",
            "evaluate all on the same samples; evaluate_union(at_least=...) stops them together",
        )
    outcomes = tuple(min(sample, key=WORST.index) for sample in zip(*(report.outcomes for report in reports), strict=True))
    return UnionReport(reports=tuple(reports), union_accuracy=Rate.of(outcomes.count("robust"), len(outcomes)), outcomes=outcomes)
