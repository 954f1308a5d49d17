"""What a sweep tries: points of a grid, and how long the ones that do well may train."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from martensite.core.config import Config, nearest
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.training.objective import OBJECTIVES, Objective
from martensite.training.settings import TrainingSettings


class Point(Config):
    """One way to harden.

    Args:
        eps: What is trained against; every point is judged by the one threat model of the sweep.
        objective: What is minimised.
    """

    eps: PositiveFloat
    objective: Annotated[Objective, member_of(OBJECTIVES)]

    def __str__(self) -> str:
        fields = type(self.objective).model_fields
        record = self.objective.model_dump(mode="json")
        changed = [name for name in record if getattr(self.objective, name) != fields[name].default]
        inside = ", ".join(f"{name}={_short(record[name])}" for name in changed)
        return f"{self.objective.kind}({inside}) eps {self.eps:.4g}" if inside else f"{self.objective.kind} eps {self.eps:.4g}"


class SweepPlan(Config):
    """A grid and a budget.

    Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943, fig. 3): all points train for a short while, the better
    share goes on for ``eta`` times as long, and so on; the last rung has trained for ``epochs``.

    Args:
        points: At least two, all different.
        epochs: Of a point that reaches the last rung.
        rungs: How often the points are compared, at most; fewer if points or epochs run out.
        eta: One in so many goes on.
        settings: Of the training; its ``epochs`` don't count here.
        min_clean: Least clean accuracy of the point that is chosen; None: none is asked for.

    Raises:
        ConfigError: fewer than two points, or one that is there twice.
    """

    points: tuple[Point, ...]
    epochs: PositiveInt = 8
    rungs: PositiveInt = 3
    eta: int = Field(default=2, ge=2)
    settings: TrainingSettings = TrainingSettings()
    min_clean: float | None = Field(default=None, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.points) < 2:
            raise ConfigError(
                f"the sweep has {len(self.points)} point(s)",
                "a sweep compares at least two",
                "give more eps, objectives or values",
            )
        for one, other in itertools.combinations(self.points, 2):
            if one == other:
                raise ConfigError(f"{one} is there twice", "the points of a sweep differ", "leave one of them out")
        return self

    @property
    def budgets(self) -> tuple[int, ...]:
        """Epochs in all after each rung; the last is ``epochs``."""
        budgets, left = [self.epochs], len(self.points)
        while len(budgets) < self.rungs and left > 1 and budgets[0] >= self.eta:
            budgets.insert(0, budgets[0] // self.eta)
            left = self.survivors(left)
        return tuple(budgets)

    @property
    def running(self) -> tuple[int, ...]:
        """How many points train in each rung."""
        counts = [len(self.points)]
        for _ in self.budgets[1:]:
            counts.append(self.survivors(counts[-1]))
        return tuple(counts)

    def survivors(self, running: int) -> int:
        """How many of so many points go on to the next rung."""
        return math.ceil(running / self.eta)


def grid(
    eps: Sequence[float],
    objectives: Sequence[Objective | str | dict[str, Any]],
    values: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Point, ...]:
    """Every eps with every objective, and every combination of those of the values that the objective has a parameter for.

    Args:
        eps: What to train against.
        objectives: Members, names or mappings.
        values: Parameter to values, e.g. ``{"mix": (0, 0.5), "beta": (1, 3, 6)}``.

    Raises:
        ConfigError: a parameter that no objective has, or a value out of range.
    """
    documents, values = [_document(objective) for objective in objectives], dict(values or {})
    fields = [OBJECTIVES.get(str(document["kind"])).model_fields for document in documents]
    known = {name for own in fields for name in own} - {"kind"}
    for name in values:
        if name not in known:
            raise ConfigError(f"no objective of the sweep has a parameter {name!r}", remedy=nearest(name, known))
    points: dict[str, Point] = {}
    for level, (document, own) in itertools.product(eps, zip(documents, fields, strict=True)):
        names = [name for name in values if name in own]
        for combination in itertools.product(*[values[name] for name in names]):
            objective = OBJECTIVES.build({**document, **dict(zip(names, combination, strict=True))})
            point = Point(eps=level, objective=objective)
            points.setdefault(point.model_dump_json(), point)
    return tuple(points.values())


def _document(objective: Objective | str | dict[str, Any]) -> dict[str, Any]:
    """An objective as a mapping. It isn't built: a parameter that it must have may come with the values."""
    if isinstance(objective, dict) and "kind" in objective:
        return objective
    return {"kind": objective} if isinstance(objective, str) else OBJECTIVES.build(objective).model_dump(mode="json")


def _short(value: Any) -> str:
    """A parameter's value in a label: a part by its kind and its numbers, any other mapping by all it holds."""
    if isinstance(value, dict) and "kind" not in value:
        return "+".join(f"{name}-{_short(part)}" for name, part in value.items())
    if isinstance(value, dict):
        return "-".join(str(part) for name, part in value.items() if name in ("kind", "steps"))
    return f"{value:g}" if isinstance(value, float) else str(value)
