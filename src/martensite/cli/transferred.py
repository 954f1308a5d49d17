"""The transfer matrix of a comparison: the models of its reports, recognised by their digests."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from martensite.core.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from martensite.data import Dataset
    from martensite.evaluation import RobustnessReport, TransferMatrix

STEPS = 40


def transferred(
    sources: Sequence[str], named: "Mapping[str, RobustnessReport]", data: "Dataset", trust_code: bool
) -> "TransferMatrix":
    """How far adversarials of each model, by PGD on the margin, break the others.

    Args:
        sources: MODEL of each report, in their order.
        named: The reports.
        data: The samples that they are about.
        trust_code: See `load_model`.

    Raises:
        ConfigError: not one model a report.
        DataError: other samples than the reports'.
        ModelError: a model that a report isn't about.
        ThreatError: a norm in which PGD does not search.
    """
    from martensite.attacks import PGD
    from martensite.cli.query_source import load_any
    from martensite.evaluation import transfer_matrix
    from martensite.models.digest import identity

    if len(sources) != len(named):
        raise ConfigError(f"--transfer was given {len(sources)} times with {len(named)} reports", "each report has its model")
    first = next(iter(named.values()))
    if data.digest != first.data.digest:
        raise DataError(
            f"--data is {data.name} with {len(data)} samples",
            f"the reports are about other samples: {first.data.n} of {first.data.name}, {first.data.split}",
            "give --data, --split and --samples as they were given to evaluate",
        )
    models = {name: load_any(source, None, data, trust_code)[0] for name, source in zip(named, sources, strict=True)}
    for (name, report), source in zip(named.items(), sources, strict=True):
        if identity(models[name]) != report.model_digest:
            raise ModelError(f"{source} is not the model of report {name}", "their digests differ", "give the models in order")
    for model in models.values():
        PGD().check(model, first.threat)
    return transfer_matrix(models, data, first.threat, PGD(steps=STEPS, loss="margin"), seed=first.seed)
