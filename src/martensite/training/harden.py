"""The two ways to call the loop: `train` without an adversary, `harden` against one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from martensite.core.acts import Act, recorded
from martensite.core.errors import ConfigError
from martensite.core.events import Listener, silent
from martensite.data.dataset import Dataset
from martensite.data.split import hold_out
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel
from martensite.training.logs import Log
from martensite.training.loop import fit
from martensite.training.objective import OBJECTIVES, Objective
from martensite.training.objectives import PGDAT, EnsembleAT, Standard
from martensite.training.phases import follow
from martensite.training.recipe import Phase, Recipe, load_recipe
from martensite.training.result import TrainingResult
from martensite.training.settings import TrainingSettings

VALIDATION_SHARE = 0.1


def _made(given: Mapping[str, Any], result: TrainingResult | None) -> Act:
    details = {"from": model_digest(given["model"]), "data": given["data"].digest, "seed": given["seed"]}
    if "threat" in given:
        plan = _plan(given["objective"], given["recipe"], given["epochs"], given["settings"])
        details |= {"threat": str(given["threat"]), "recipe": plan.name}
    if result is None:
        return Act(details=details)
    details |= {"epochs": len(result.history), "best_epoch": result.best.number}
    return Act("model", model_digest(result.model), outcome="done" if result.completed else result.verdict, details=details)


@recorded("train", _made, announced=True)
def train(
    model: Classifier,
    data: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int = 10,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    listener: Listener = silent,
    log: Log | None = None,
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
        listener: Gets an event an epoch, one a validation within an epoch, and one a recovery.
        log: Where the same events are written to, in more detail.
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
        checkpoint=None if checkpoint is None else Path(checkpoint),
        stage="train",
        listener=listener,
        log=log,
    )


@recorded("harden", _made, announced=True)
def harden(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    objective: Objective | str | dict[str, Any] | None = None,
    validation: Dataset | None = None,
    *,
    surrogates: Sequence[Classifier] = (),
    recipe: Recipe | str | Path | None = None,
    epochs: int | None = None,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    listener: Listener = silent,
    log: Log | None = None,
) -> TrainingResult:
    """Adversarial training of a copy of ``model``; the weights with the best robust validation accuracy are returned.

    Args:
        model: Where to start from; a trained model costs less to harden than a fresh one.
        data: Training data.
        threat: The adversary to train against.
        objective: An objective, its name or its mapping.
        validation: Held-out data; None: a stratified tenth of ``data``, which then isn't trained on.
        surrogates: Models held beside the one in training, for `EnsembleAT`.
        recipe: ``"fast"``, ``"balanced"``, ``"thorough"``, a YAML file or a `Recipe`, instead of objective and settings; if none
            of the three is given, ``"balanced"``.
        epochs: Passes over the data in all; None: as the recipe says, and 10 for an objective.
        settings: Of the objective (None: the defaults); without an objective `PGDAT` is trained with.
        seed: Of all randomness.
        checkpoint: File to resume from and to write to after every epoch.
        listener: Gets an event an epoch, one a validation within an epoch, and one a recovery.
        log: Where the same events are written to, in more detail.

    Raises:
        ConfigError: a recipe together with an objective or settings, settings together with epochs, no such recipe, surrogates
            that no objective asks.
    """
    plan = _plan(objective, recipe, epochs, settings)
    if surrogates and EnsembleAT.model_fields["kind"].default not in plan.model_dump_json():  # a wrapper may hold it
        rule = "only ensemble_at makes adversarials on held models"
        raise ConfigError("surrogates were given", rule, "train with ensemble_at, or leave them out")
    data, validation = _split(data, validation, seed)
    return follow(
        plan,
        model,
        data,
        validation,
        threat,
        seed=seed,
        checkpoint=checkpoint,
        surrogates=tuple(surrogates),
        listener=listener,
        log=log,
    )


def _plan(
    objective: Objective | str | dict[str, Any] | None,
    recipe: Recipe | str | Path | None,
    epochs: int | None,
    settings: TrainingSettings | None,
) -> Recipe:
    """What `harden` was asked for, as a recipe."""
    if objective is None and settings is None:
        found = load_recipe("balanced" if recipe is None else recipe)
        return found if epochs is None else found.scaled(epochs)
    if recipe is not None:
        given = "settings were" if objective is None else "an objective was"
        raise ConfigError(
            f"{given} given together with a recipe", "a recipe holds both", "leave it out, or change the recipe: Recipe.changed"
        )
    if settings is not None and epochs is not None:
        raise ConfigError(f"epochs={epochs} was given together with settings", "settings hold the epochs", "set them there")
    chosen = PGDAT() if objective is None else OBJECTIVES.build(objective)
    phase = Phase(objective=chosen, settings=settings or TrainingSettings(epochs=10 if epochs is None else epochs))
    return Recipe(name=chosen.kind, phases=(phase,))


def _split(data: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
    return (data, validation) if validation is not None else hold_out(data, VALIDATION_SHARE, seed)
