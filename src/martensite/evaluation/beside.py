"""What a suite measures beside its attacks: surrogates and what transfers, corruption errors, CLEVER, distances in any norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from martensite.core.engine import Engine
from martensite.core.errors import ConfigError, ModelError, ThreatError, UnreachableError
from martensite.core.events import Listener
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import Answered
from martensite.evaluation.clever import Clever, CleverSummary, clever_summary
from martensite.evaluation.corrupting import corruption_error
from martensite.evaluation.corruption import Corrupting, CorruptionError
from martensite.evaluation.diagnostics import Evidence
from martensite.evaluation.distances import NormRow
from martensite.evaluation.fit import Fitted, check_images
from martensite.evaluation.norms import norm_row
from martensite.evaluation.suite import Suite
from martensite.evaluation.surrogate import DISTILLED, SurrogateRecord, agreement, distil
from martensite.evaluation.transferability import TransferMatrix, transfer_matrix
from martensite.models import Classifier, Model
from martensite.models.digest import identity
from martensite.threat import ThreatModel

OWN = "model"  # what the model under evaluation is called in the transfer matrix


@dataclass(frozen=True)
class Beside:
    """What was measured, as the report has it; ``left_out`` says what could not be, and why."""

    surrogates: tuple[SurrogateRecord, ...] = ()
    transfer: TransferMatrix | None = None
    corruption: CorruptionError | None = None
    clever: CleverSummary | None = None
    norms: tuple[NormRow, ...] = ()
    left_out: tuple[str, ...] = ()


def gather_surrogates(
    model: Model,
    data: Dataset,
    threat: ThreatModel,
    suite: Suite,
    given: Mapping[str, Model],
    clean: Answered,
    seed: int,
    store: Path | None,
) -> tuple[dict[str, Model], tuple[SurrogateRecord, ...]]:
    """Those that were given, and the one that the suite trains, by name.

    Raises:
        ConfigError: a name that is taken.
        ModelError: one whose classes or box are not the model's.
    """
    if taken := {OWN, DISTILLED} & set(given):
        raise ConfigError(f"a surrogate is called {min(taken)!r}", "that name is taken", "give it another name")
    for name, one in given.items():
        if one.classes != model.classes or tuple(one.box) != tuple(model.box):
            raise ModelError(
                f"surrogate {name!r} has {one.classes} classes in the box {list(one.box)}",
                f"the model has {model.classes} in {list(model.box)}, and both must mean the same",
                "give one that was made for the same inputs and classes",
            )
    sources, queries = dict(given), dict.fromkeys(given, 0)
    if suite.surrogate is not None:
        sources[DISTILLED], queries[DISTILLED] = distil(model, data, threat, suite.surrogate, seed=seed, store=store, clean=clean)
    records = [
        SurrogateRecord(name=name, digest=identity(one), agreement=agreement(one, clean, data), queries=queries[name])
        for name, one in sources.items()
    ]
    return sources, tuple(records)


def look_beside(
    evidence: Evidence,
    suite: Suite,
    fitted: Fitted,
    sources: Mapping[str, Model],
    records: tuple[SurrogateRecord, ...],
    engine: Engine | None,
    store: Path | None,
    listener: Listener,
) -> Beside:
    """Measure what the suite asks for, as far as it fits the model, the data and the threat model."""
    left_out: list[str] = []
    used = next((job.method for job in fitted.jobs if job.surrogate is not None), None)
    matrix = None
    if used is not None:
        try:
            own = {OWN: evidence.model, **sources}
            matrix = transfer_matrix(own, evidence.data, evidence.threat, used, seed=evidence.seed)
        except UnreachableError:
            raise
        except ModelError as error:
            left_out.append(f"the transfer matrix: {error.value}")
    corruption = None
    if suite.corruption is not None:
        try:
            corruption = _corruption(evidence, suite.corruption, engine, store, listener)
        except ThreatError as error:
            left_out.append(error.value)
    clever = None
    if suite.clever is not None:
        try:
            clever = _clever(evidence, suite.clever)
        except ThreatError as error:
            left_out.append(error.value)
    norms = tuple(norm_row(one, evidence.tally.correct, evidence.data) for one in evidence.tally.norms)
    return Beside(records, matrix, corruption, clever, norms, tuple(left_out))


def _corruption(
    evidence: Evidence, plan: Corrupting, engine: Engine | None, store: Path | None, listener: Listener
) -> CorruptionError:
    check_images("corruption error", evidence.data.shape)
    return corruption_error(
        evidence.model,
        evidence.data,
        plan,
        seed=evidence.seed,
        clean_error=1 - int(evidence.tally.correct.sum()) / len(evidence.data),
        engine=engine,
        store=store,
        listener=listener,
    )


def _clever(evidence: Evidence, plan: Clever) -> CleverSummary | None:
    if not isinstance(evidence.model, Classifier):
        raise ThreatError("clever needs gradients and this model only answers queries")
    rows = evidence.tally.correct.nonzero().flatten()[: plan.limit]
    if not len(rows):
        return None
    return clever_summary(plan, evidence.model, evidence.data.x[rows], evidence.data.y[rows], evidence.threat, evidence.seed)
