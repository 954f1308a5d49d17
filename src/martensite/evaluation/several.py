"""Evaluate under several threat models, on all samples or until it is sure how many withstand all of them.

Runs that each stop when they are sure for themselves have seen different samples, and nothing follows for their union: one threat
model may take what another left. So all of them see the same samples, and the test is about the union.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from martensite.core.engine import Engine
from martensite.core.errors import ConfigError
from martensite.core.events import Listener, silent
from martensite.core.rng import generator
from martensite.data.dataset import Dataset
from martensite.evaluation.anytime import anytime_rate, decision
from martensite.evaluation.evaluate import evaluate
from martensite.evaluation.report import RobustnessReport
from martensite.evaluation.suite import Suite
from martensite.evaluation.union import UnionReport, union
from martensite.models import Model
from martensite.threat import ThreatModel

FIRST, GROWTH = 100, 2  # samples of the first look, and how many times as many of each later one


def evaluate_union(
    model: Model,
    data: Dataset,
    threats: Sequence[ThreatModel],
    suite: str | Path | Suite = "standard",
    *,
    seed: int = 0,
    engine: Engine | None = None,
    store: Path | None = None,
    at_least: float | None = None,
    listener: Listener = silent,
) -> UnionReport:
    """Evaluate under each threat model, and under the adversary who may choose among them.

    Arguments and errors are those of `evaluate`, which runs once a threat model.

    Args:
        at_least: Stop as soon as it is sure whether so many withstand all of them (`until_sure`).

    Raises:
        ConfigError: no threat model, or one that is there twice.
    """
    check_different(threats)

    def run(samples: Dataset) -> list[RobustnessReport]:
        return [evaluate(model, samples, one, suite, seed=seed, engine=engine, store=store, listener=listener) for one in threats]

    return union(run(data)) if at_least is None else until_sure(run, data, at_least, seed)


def until_sure(
    run: Callable[[Dataset], Sequence[RobustnessReport]], data: Dataset, at_least: float, seed: int = 0
) -> UnionReport:
    """Look at the samples in random order, at twice as many each time, until it is sure how many withstand all threat models.

    Each look evaluates its samples from the start, so all looks together cost less than twice the last one.

    Args:
        run: Evaluates the samples that it is given under every threat model.
        data: All samples.
        at_least: The threshold, in (0, 1).
        seed: Of the order.

    Returns:
        About the samples of the last look. Its decision and intervals of robust accuracy, and those of each report in it, hold
        however the run came to stop.

    Raises:
        ConfigError: ``at_least`` outside (0, 1).
    """
    decision(0, 0, at_least, len(data))  # refuses a threshold before anything is attacked
    order, seen = torch.randperm(len(data), generator=generator(seed, "evaluate/order")), min(FIRST, len(data))
    while True:
        joined = union([_at_any_time(one, at_least, len(data)) for one in run(data.subset(order[:seen]))])
        reached = decision(joined.union_accuracy.count, seen, at_least, len(data))
        if reached.verdict != "INCONCLUSIVE" or seen == len(data):
            break
        seen = min(GROWTH * seen, len(data))
    rate = anytime_rate(joined.union_accuracy.count, seen)
    decided = joined.model_copy(update={"union_accuracy": rate, "decision": reached})
    return decided.model_copy(update={"decision": decided.decided})


def check_different(threats: Sequence[ThreatModel]) -> None:
    """A union is of threat models that differ.

    Raises:
        ConfigError: no threat model, or one that is there twice.
    """
    if not threats or len(set(map(str, threats))) < len(threats):
        raise ConfigError(
            f"threat models are {[str(threat) for threat in threats]}", "at least one is needed, each once", "e.g. linf:8/255"
        )


def _at_any_time(report: RobustnessReport, at_least: float, available: int) -> RobustnessReport:
    """With an interval of robust accuracy, and a decision, that hold although its outcomes were looked at before going on."""
    count, n, eps = report.robust_accuracy.count, report.robust_accuracy.n, report.threat.eps
    rate = anytime_rate(count, n)
    curve = tuple(point.model_copy(update={"accuracy": rate}) if point.eps == eps else point for point in report.curve)
    reached = decision(count, n, at_least, available)
    changed = report.model_copy(update={"robust_accuracy": rate, "curve": curve, "decision": reached})
    return changed.model_copy(update={"decision": changed.decided})
