"""Several threat models at once: a sample counts as robust only if it withstands all of them.

Tramer and Boneh 2019, "Adversarial training and robustness for multiple perturbations", arXiv:1904.13000, sec. 2 (the "max"
strategy: an adversary who may choose among the perturbation types for each sample).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from martensite.core.engine import Engine
from martensite.core.errors import ConfigError
from martensite.core.events import Listener, silent
from martensite.data.dataset import Dataset
from martensite.evaluation.evaluate import evaluate
from martensite.evaluation.report import Outcome, Rate, Report, RobustnessReport
from martensite.evaluation.suite import Suite
from martensite.models import Model
from martensite.threat import ThreatModel

WORST: tuple[Outcome, ...] = ("misclassified", "broken", "error", "robust")  # whichever comes first is the sample's


class UnionReport(Report):
    """One model and dataset, several threat models.

    Attributes:
        reports: One a threat model, on the same samples in the same order.
        union_accuracy: Share of the samples that are robust under every one of them.
        outcomes: One a sample: broken if any threat model broke it, an error if none did and one could not be measured.
    """

    schema_version: Literal[1] = 1
    reports: tuple[RobustnessReport, ...]
    union_accuracy: Rate
    outcomes: tuple[Outcome, ...]


def evaluate_union(
    model: Model,
    data: Dataset,
    threats: Sequence[ThreatModel],
    suite: str | Path | Suite = "standard",
    *,
    seed: int = 0,
    engine: Engine | None = None,
    store: Path | None = None,
    listener: Listener = silent,
) -> UnionReport:
    """Evaluate under each threat model, and under the adversary who may choose among them.

    Arguments and errors are those of `evaluate`, which runs once a threat model.

    Raises:
        ConfigError: no threat model, or one that is there twice.
    """
    if not threats or len(set(map(str, threats))) < len(threats):
        raise ConfigError(
            f"threat models are {[str(threat) for threat in threats]}", "at least one is needed, each once", "e.g. linf:8/255"
        )
    reports = tuple(
        evaluate(model, data, threat, suite, seed=seed, engine=engine, store=store, listener=listener) for threat in threats
    )
    return union(reports)


def union(reports: Sequence[RobustnessReport]) -> UnionReport:
    """Join reports about the same samples of one model."""
    outcomes = tuple(min(sample, key=WORST.index) for sample in zip(*(report.outcomes for report in reports), strict=True))
    return UnionReport(reports=tuple(reports), union_accuracy=Rate.of(outcomes.count("robust"), len(outcomes)), outcomes=outcomes)
