"""A recipe: how to harden a model, as phases that follow one another; three are shipped, any other is a YAML file."""

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from martensite.core.config import Config, nearest
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.training.objective import OBJECTIVES, Objective
from martensite.training.settings import TrainingSettings

LEAST = "least_updates"


class Phase(Config):
    """One objective with its settings.

    Args:
        objective: What to minimise.
        settings: Optimiser, schedule, batches, guards.
        least_updates: Small data is gone through more often than ``settings.epochs``, until there are so many updates.
    """

    objective: Annotated[Objective, member_of(OBJECTIVES)]
    settings: TrainingSettings = TrainingSettings()
    least_updates: NonNegativeInt = 0

    def epochs_for(self, samples: int) -> int:
        """Epochs over so many samples."""
        batches = math.ceil(samples / self.settings.batch_size)
        return max(self.settings.epochs, math.ceil(self.least_updates / batches))


class Recipe(Config):
    """Phases of hardening; each starts from the best weights of the one before it.

    Args:
        name: What it is called.
        about: What it is for, in a line.
        measured: What it was found to cost and to give, and where.
        phases: At least one.

    Raises:
        ConfigError: no phase.
    """

    name: str
    about: str = ""
    measured: str = ""
    phases: tuple[Phase, ...]

    @model_validator(mode="after")
    def _has_phases(self) -> Self:
        if not self.phases:
            raise ConfigError(f"recipe {self.name!r} has no phases", "there is at least one", "add an objective with settings")
        return self

    def scaled(self, epochs: PositiveInt) -> Self:
        """The recipe with so many epochs in all, shared out as before, and at least one a phase; `Phase.least_updates` goes.

        Raises:
            ConfigError: no whole number of epochs, or none.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ConfigError(f"epochs is {epochs!r}", "they are a whole number of at least 1", "give e.g. epochs=10")
        before = sum(phase.settings.epochs for phase in self.phases)
        shares = [max(1, round(epochs * phase.settings.epochs / before)) for phase in self.phases]
        # What rounding left over or took too much belongs to the longest phase.
        longest = max(range(len(shares)), key=shares.__getitem__)
        shares[longest] = max(1, shares[longest] + epochs - sum(shares))
        phases = [
            Phase(objective=phase.objective, settings=phase.settings.model_copy(update={"epochs": share}))
            for phase, share in zip(self.phases, shares, strict=True)
        ]
        return self.model_copy(update={"phases": tuple(phases)})

    def changed(self, path: str, value: Any) -> Self:
        """The recipe with one parameter changed.

        Args:
            path: ``"mix"`` or ``"attack.steps"``: of the objective, in every phase whose objective has it; ``"settings.lr"``: of
                the settings of every phase; ``"least_updates"``: of every phase; with a number in front, ``"2.settings.lr"``, in
                that phase alone. ``settings.epochs`` sets `Phase.least_updates` to 0: whoever says so many means so many.
            value: As YAML has it.

        Raises:
            ConfigError: no such phase or parameter, or a value out of range.
        """
        first, _, rest = path.partition(".")
        places = list(range(len(self.phases)))
        if first.isdigit():
            if not 1 <= int(first) <= len(self.phases):
                raise ConfigError(f"{path!r} is of phase {first}", f"recipe {self.name!r} has {len(self.phases)}", "count from 1")
            places, path = [int(first) - 1], rest
        documents = [phase.model_dump(mode="json") for phase in self.phases]
        head, *names = path.split(".")
        if head not in ("settings", "objective", LEAST):
            names, places = [head, *names], [k for k in places if head in documents[k]["objective"]]
            head = "objective"
            if not places:
                known = {name for document in documents for name in document["objective"]} - {"kind"}
                raise ConfigError(f"no objective of recipe {self.name!r} has {names[0]!r}", remedy=nearest(names[0], known))
        for place in places:
            if head == LEAST:
                _put(documents[place], path, [head, *names], value)
            else:
                _put(documents[place][head], path, names, value)
            if (head, names) == ("settings", ["epochs"]):
                documents[place][LEAST] = 0
        changed = [Phase.parse(document) if k in places else self.phases[k] for k, document in enumerate(documents)]
        return self.model_copy(update={"phases": tuple(changed)})


def load_recipe(source: "str | Path | Recipe") -> Recipe:
    """A recipe by name (``"fast"``, ``"balanced"``, ``"thorough"``), from a YAML file, or as it is.

    Raises:
        ConfigError: no such recipe or file; the message lists the known ones.
    """
    if isinstance(source, Recipe):
        return source
    shipped = {Path(entry.name).stem: entry for entry in files(__package__).joinpath("recipes").iterdir()}
    if str(source) in shipped:
        return Recipe.from_yaml(shipped[str(source)].read_text(encoding="utf-8"))
    if Path(source).suffix in (".yaml", ".yml"):
        return Recipe.from_yaml(Path(source))
    raise ConfigError(f"there is no recipe {str(source)!r}", remedy=f"{nearest(str(source), shipped)}; or give a YAML file")


def _put(document: Any, path: str, names: list[str], value: Any) -> None:
    """Set the value at the end of a path of keys."""
    for name in names[:-1]:
        if not isinstance(document, dict) or not isinstance(document.get(name), dict):
            raise ConfigError(f"{path!r} leads nowhere", f"{name!r} holds no parameters", "give the whole value as YAML")
        document = document[name]
    if not names or not names[-1]:
        raise ConfigError(f"{path!r} names no parameter", remedy="e.g. mix, attack.steps or settings.lr")
    document[names[-1]] = value
