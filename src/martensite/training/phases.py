"""Hardening by a recipe: its phases one after the other, and one result of them all."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from pydantic import PrivateAttr

from martensite.core.events import Listener, silent
from martensite.data.dataset import Dataset
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.checks import check_floor, check_run
from martensite.training.ledger import Ledger, Passes, close
from martensite.training.logs import Log, following
from martensite.training.loop import fit
from martensite.training.objectives import Standard
from martensite.training.recipe import Recipe
from martensite.training.result import Epoch, TrainingResult
from martensite.training.validation import clean_accuracy


def follow(
    recipe: Recipe,
    model: Classifier,
    data: Dataset,
    validation: Dataset,
    threat: ThreatModel,
    *,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    surrogates: tuple[Classifier, ...] = (),
    listener: Listener = silent,
    log: Log | None = None,
) -> TrainingResult:
    """Harden a copy of a model by a recipe; the best weights of all phases, by robust validation accuracy, are returned.

    Args:
        recipe: The phases; each starts from the best weights of the one before it.
        model: Where to start from.
        data: Training data.
        validation: Held-out data.
        threat: The adversary.
        seed: Of all randomness.
        checkpoint: File to resume from; later phases add their number to its name. None: no checkpoint.
        surrogates: See `fit`.
        listener: Gets an event an epoch.
        log: See `fit`.

    Raises:
        DataError: see `fit`, here and below; what is wrong with a later phase is said before the first begins.
        ThreatError: see `fit`.
        ModelError: see `fit`.
        ConfigError: see `fit`.
        ArtifactError: see `fit`.
        RunError: see `fit`.
    """
    plans = [phase.settings.model_copy(update={"epochs": phase.epochs_for(len(data))}) for phase in recipe.phases]
    for phase, settings in zip(recipe.phases, plans, strict=True):
        check_run(model, data, validation, settings, threat, phase.objective, surrogates)
    ledger = _check_floors(recipe, model, validation)
    place = None if checkpoint is None else Path(checkpoint)
    results: list[TrainingResult] = []
    with following(log, ()) as write:
        for number, (phase, settings) in enumerate(zip(recipe.phases, plans, strict=True), start=1):
            result = fit(
                results[-1].model if results else model,
                data,
                validation,
                phase.objective,
                settings,
                threat=threat,
                seed=seed,
                checkpoint=_numbered(place, number),
                # A stage of its own gives each phase an order and noise of its own.
                stage="harden" if len(plans) == 1 else f"harden/{number}",
                surrogates=surrogates,
                listener=listener,
                log=None if log is None else _shared(log, write),
            )
            floor = 0.0 if settings.guards is None else settings.guards.floor
            if result.completed and number < len(plans) and (result.best.clean or 0.0) < floor:
                result = replace(result, verdict=f"clean accuracy stayed under the floor of {floor:g} in phase {number}")
            results.append(result)
            if not result.completed:
                break
    return results[0] if len(recipe.phases) == 1 else _joined(results, len(data), floor, ledger)


def _check_floors(recipe: Recipe, model: Classifier, validation: Dataset) -> Ledger:
    """Refuse a later phase's floor above the clean accuracy that the first one starts from; what it cost to look at that."""
    ledger = Ledger()

    def clean() -> float:
        with ledger.timed("validation", model.device) as passes:
            return clean_accuracy(model, validation.x, validation.y, passes)

    first, *later = [0.0 if phase.settings.guards is None else phase.settings.guards.floor for phase in recipe.phases]
    for number, floor in enumerate(later, start=1):
        # The first is `fit`'s to check. Standard training may raise what the phases after it start from.
        if floor > first and not any(isinstance(phase.objective, Standard) for phase in recipe.phases[:number]):
            check_floor(floor, clean)
    return ledger


def _joined(results: Sequence[TrainingResult], samples: int, floor: float, ledger: Ledger) -> TrainingResult:
    """One result of several phases, with epochs and updates counted through; ``ledger``: what was spent before the first."""
    epochs, updates = 0, 0
    history: list[Epoch] = []
    validations: list[Epoch] = []
    recoveries, best = [], []
    for result in results:
        for name in ("update", "attack", "validation", "guards"):
            _add(getattr(ledger, name), getattr(result.cost, name))
        history += [_later(epoch, epochs, updates) for epoch in result.history]
        validations += [_later(epoch, epochs, updates) for epoch in result.validations]
        recoveries += [
            replace(made, update=made.update + updates, restored=made.restored + updates) for made in result.recoveries
        ]
        best.append(_later(result.best, epochs, updates))
        if result.history:
            epochs, updates = history[-1].number, history[-1].update

    def score(place: int) -> tuple[bool, float, float]:
        clean, robust = best[place].clean or 0.0, best[place].robust or 0.0
        return clean >= floor, robust, clean

    # Of equals the later one, as within a phase.
    chosen = max(range(len(results)), key=lambda place: (score(place), place))
    return TrainingResult(
        results[chosen].model,
        tuple(history),
        best[chosen],
        ledger.forwards,
        ledger.backwards,
        sum(result.seconds for result in results),
        tuple(validations),
        tuple(recoveries),
        results[-1].verdict,
        close(ledger, samples, max(result.cost.peak_memory for result in results)),
    )


def _later(epoch: Epoch, epochs: int, updates: int) -> Epoch:
    return replace(epoch, number=epoch.number + epochs, update=epoch.update + updates)


class _Shared(Log):
    """A log that is open already: every phase goes on writing to it."""

    kind: str = "shared"
    to: str = ""
    _write: Listener = PrivateAttr()

    def opened(self) -> AbstractContextManager[Listener]:
        return nullcontext(self._write)


def _shared(log: Log, write: Listener) -> Log:
    shared = _Shared(to=log.to)
    shared._write = write
    return shared


def _numbered(checkpoint: Path | None, number: int) -> Path | None:
    if checkpoint is None or number == 1:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}.{number}{checkpoint.suffix}")


def _add(total: Passes, part: Passes) -> None:
    total.forwards += part.forwards
    total.backwards += part.backwards
    total.seconds += part.seconds
