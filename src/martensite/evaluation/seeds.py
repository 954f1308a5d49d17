"""Variation over seeds: how much of a figure is the attack's luck."""

from collections.abc import Sequence
from statistics import fmean, stdev

from martensite.core.errors import ConfigError
from martensite.evaluation.rate import Rate
from martensite.evaluation.report import RobustnessReport
from martensite.evaluation.variation import Variation


def variation(reports: Sequence[RobustnessReport]) -> Variation:
    """Join reports that differ in nothing but the seed.

    Raises:
        ConfigError: none, or reports about different things.
    """
    about = {(one.model_digest, one.data.digest, str(one.threat), one.suite, one.suite_digest) for one in reports}
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


def varied(reports: Sequence[RobustnessReport]) -> RobustnessReport:
    """The first report, with what the other seeds say of it.

    Raises:
        ConfigError: see `variation`.
    """
    return reports[0].model_copy(update={"variation": variation(reports)})
