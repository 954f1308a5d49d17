"""Variation over seeds: how much of a figure is the attack's luck."""

from collections.abc import Sequence
from statistics import fmean, stdev

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.evaluation.rate import Rate
from martensite.evaluation.report import RobustnessReport


class Variation(Config):
    """Robust accuracy over several seeds of the attacks.

    Attributes:
        seeds: In the order of ``values``.
        values: Robust accuracies.
        mean: Their mean.
        deviation: Their standard deviation (n - 1); None of a single one.
        worst: Samples that withstand under every seed: all the runs are one attack with as many restarts.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    worst: Rate


def variation(reports: Sequence[RobustnessReport]) -> Variation:
    """Join reports that differ in nothing but the seed.

    Raises:
        ConfigError: none, or reports about different things.
    """
    about = {(one.model_digest, one.data.digest, str(one.threat), one.suite) for one in reports}
    if len(about) != 1:
        raise ConfigError(f"reports are about {len(about)} different things", "only the seed may differ", "evaluate anew")
    values = [one.robust_accuracy.value for one in reports]
    held = [all(outcome == "robust" for outcome in sample) for sample in zip(*(one.outcomes for one in reports), strict=True)]
    return Variation(
        seeds=tuple(one.seed for one in reports),
        values=tuple(values),
        mean=fmean(values),
        deviation=stdev(values) if len(values) > 1 else None,
        worst=Rate.of(sum(held), len(held)),
    )
