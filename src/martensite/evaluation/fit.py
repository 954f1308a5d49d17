"""What of a suite can be run on a model under a threat model, and what can't."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from martensite.attacks import Attack
from martensite.attacks.natural import SMALLEST
from martensite.core.errors import AccessError, InputError, ThreatError
from martensite.evaluation.suite import Suite
from martensite.models.access import Access, Model
from martensite.threat import ThreatModel

Role = Literal["all", "survivors", "curve"]


@dataclass(frozen=True)
class Job:
    """One attack at one eps.

    Attributes:
        name: What the report calls it.
        method: The attack.
        threat: What it may do.
        role: On every sample, on what is left, or for one point of the security curve.
        multiple: Of the threat model's eps, on the curve.
    """

    name: str
    method: Attack
    threat: ThreatModel
    role: Role
    multiple: float = 1.0


@dataclass(frozen=True)
class Fitted:
    """A suite that fits.

    Attributes:
        jobs: On every sample, the curve's included; the order of the suite.
        cascade: On what is left, one after the other.
        distances: Which of ``jobs`` is the suite's minimum-norm attack; None: none fits.
        left_out: What doesn't fit, and why.
    """

    jobs: tuple[Job, ...]
    cascade: tuple[Job, ...]
    distances: Job | None
    left_out: tuple[str, ...]


def fit(suite: Suite, model: Model, threat: ThreatModel, shape: tuple[int, ...]) -> Fitted:
    """Choose what of a suite fits.

    A model that only answers queries gets the suite's attacks by queries as well.

    Args:
        suite: The suite.
        model: What will be attacked.
        threat: The threat model.
        shape: Of one input.

    Raises:
        AccessError, ThreatError: nothing fits; the first attack's reason.
    """
    reasons: list[InputError] = []

    def fits(method: Attack) -> bool:
        try:
            method.check(model, threat)
            _check_shape(method, shape)
        except (AccessError, ThreatError) as error:
            reasons.append(error)
            return False
        return True

    queries = suite.queries if model.access < Access.GRADIENTS else ()
    everywhere = [method for method in suite.attacks if fits(method)]
    nearest = suite.distances if suite.distances is not None and fits(suite.distances) else None
    later = [method for method in _distinct((*suite.cascade, *queries)) if fits(method) and method not in everywhere]
    named = [*everywhere, *([nearest] if nearest is not None else []), *later]
    if not named:
        raise reasons[0]
    names = [_name(method, named) for method in named]
    jobs = [Job(name, method, threat, "all") for name, method in zip(names, named, strict=True)]
    first, rest = jobs[: len(named) - len(later)], jobs[len(named) - len(later) :]
    curve: list[Job] = []
    if suite.curve and suite.curve_attack is not None and fits(suite.curve_attack):
        curve = list(_points(suite.curve, suite.curve_attack, threat, prod(shape)))
    return Fitted(
        jobs=(*first, *curve),
        cascade=tuple(replace(job, role="survivors") for job in rest),
        distances=first[-1] if nearest is not None else None,
        left_out=tuple(dict.fromkeys(error.value for error in reasons)),
    )


def _check_shape(method: Attack, shape: tuple[int, ...]) -> None:
    """What no ball holds (rotations, weather) is done to images."""
    if not method.ball and (len(shape) != 3 or min(shape[1:]) < SMALLEST):
        raise ThreatError(f"{method.kind} is for images and the inputs have shape {shape}", "it needs (C, H, W)")


def _points(multiples: Iterable[float], method: Attack, threat: ThreatModel, size: int) -> Iterator[Job]:
    least = 1.0 if threat.norm == "l0" else 0.0  # an L0 eps counts features
    widest = threat.ball.diameter(size, threat.box)
    for multiple in multiples:
        if multiple not in (0.0, 1.0) and least <= multiple * threat.eps <= widest:
            yield Job(method.kind, method, threat.at(multiple * threat.eps), "curve", multiple)


def _distinct(methods: Iterable[Attack]) -> Iterator[Attack]:
    seen: list[Attack] = []
    for method in methods:
        if method not in seen:
            seen.append(method)
            yield method


def _name(method: Attack, others: list[Attack]) -> str:
    """The kind alone if it is the only one of it; else with whatever was set: ``"pgd(steps=50, loss=margin)"``."""
    if sum(other.kind == method.kind for other in others) == 1:
        return method.kind
    given = method.model_dump(mode="json", exclude_defaults=True)
    return f"{method.kind}({', '.join(f'{key}={value}' for key, value in given.items())})" if given else method.kind
