"""The two ways to call the loop: `train` without an adversary, `harden` against one."""

from pathlib import Path
from typing import Any

from martensite.core.events import Listener, silent
from martensite.data.dataset import Dataset
from martensite.data.split import hold_out
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.loop import TrainingResult, fit
from martensite.training.objective import OBJECTIVES, Objective
from martensite.training.objectives import PGDAT, Standard
from martensite.training.settings import TrainingSettings

VALIDATION_SHARE = 0.1


def train(
    model: Classifier,
    data: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int = 10,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    listener: Listener = silent,
) -> TrainingResult:
    """Standard training of a copy of ``model``; the epoch with the best clean validation accuracy is returned.

    Args:
        model: Where to start from.
        data: Training data.
        validation: Held-out data; None: a stratified tenth of ``data``, which then isn't trained on.
        epochs: Passes over the data, if ``settings`` isn't given.
        settings: Optimiser, schedule, batches.
        seed: Of all randomness.
        checkpoint: File to resume from and to write to after every epoch.
        listener: Gets an event an epoch.
    """
    data, validation = _split(data, validation, seed)
    settings = settings or TrainingSettings(epochs=epochs)
    return fit(
        model,
        data,
        validation,
        Standard(),
        settings,
        seed=seed,
        checkpoint=checkpoint,
        stage="train",
        listener=listener,
    )


def harden(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    objective: Objective | str | dict[str, Any] | None = None,
    validation: Dataset | None = None,
    *,
    epochs: int = 10,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    listener: Listener = silent,
) -> TrainingResult:
    """Adversarial training of a copy of ``model``; the epoch with the best robust validation accuracy is returned.

    Args:
        model: Where to start from; a trained model costs less to harden than a fresh one.
        data: Training data.
        threat: The adversary to train against.
        objective: An objective, its name or its mapping; None: `PGDAT`.
        validation: Held-out data; None: a stratified tenth of ``data``, which then isn't trained on.
        epochs: Passes over the data, if ``settings`` isn't given.
        settings: Optimiser, schedule, batches.
        seed: Of all randomness.
        checkpoint: File to resume from and to write to after every epoch.
        listener: Gets an event an epoch.
    """
    chosen = PGDAT() if objective is None else OBJECTIVES.build(objective)
    data, validation = _split(data, validation, seed)
    settings = settings or TrainingSettings(epochs=epochs)
    return fit(
        model,
        data,
        validation,
        chosen,
        settings,
        threat=threat,
        seed=seed,
        checkpoint=checkpoint,
        stage="harden",
        listener=listener,
    )


def _split(data: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
    return (data, validation) if validation is not None else hold_out(data, VALIDATION_SHARE, seed)
