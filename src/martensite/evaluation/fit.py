"""What of a suite can be run on a model under a threat model, and what can't."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from martensite.attacks import Attack
from martensite.attacks.natural import SMALLEST
from martensite.core.errors import AccessError, InputError, ThreatError
from martensite.evaluation.suite import Suite
from martensite.models.access import Access, Model
from martensite.threat import Norm, ThreatModel

Role = Literal["all", "survivors", "curve", "norm"]


@dataclass(frozen=True)
class Job:
    """One attack at one eps.

    Attributes:
        name: What the report calls it.
        method: The attack.
        threat: What it may do.
        role: On every sample, on what is left, for one point of the security curve, or for distances in another norm.
        multiple: Of the threat model's eps, on the curve.
        surrogate: Name of the model that is searched, where the one under evaluation only judges; None: it is searched itself.
    """

    name: str
    method: Attack
    threat: ThreatModel
    role: Role
    multiple: float = 1.0
    surrogate: str | None = None


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


def fit(
    suite: Suite, model: Model, threat: ThreatModel, shape: tuple[int, ...], surrogates: Mapping[str, Model] | None = None
) -> Fitted:
    """Choose what of a suite fits.

    A model that only answers queries gets the suite's attacks by queries as well.

    Args:
        suite: The suite.
        model: What will be attacked.
        threat: The threat model.
        shape: Of one input.
        surrogates: Models for the suite's attacks by transfer, by name.

    Raises:
        AccessError, ThreatError: nothing fits; the first attack's reason.
    """
    reasons: list[InputError] = []

    def fits(method: Attack, searched: Model = model, threat: ThreatModel = threat) -> bool:
        try:
            method.check(searched, threat)
            if not method.ball:  # what no ball holds (rotations, weather) is done to images
                check_images(method.kind, shape)
            method.check_shape(shape, threat)
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
    transferred = [
        Job(f"{_name(method, list(suite.transfer))} from {name}", method, threat, "all", surrogate=name)
        for name, source in (surrogates or {}).items()
        for method in suite.transfer
        if fits(method, source)
    ]
    norms = [
        job
        for norm in suite.norms
        if nearest is not None
        and norm != threat.norm
        and fits(nearest, threat=(job := _in_norm(nearest, norm, threat, shape)).threat)
    ]
    curve: list[Job] = []
    if suite.curve and suite.curve_attack is not None and fits(suite.curve_attack):
        curve = list(_points(suite.curve, suite.curve_attack, threat, prod(shape)))
    return Fitted(
        jobs=(*first, *transferred, *curve, *norms),
        cascade=tuple(replace(job, role="survivors") for job in rest),
        distances=first[-1] if nearest is not None else None,
        left_out=tuple(dict.fromkeys(error.value for error in reasons)),
    )


def check_images(what: str, shape: tuple[int, ...]) -> None:
    """Refuse inputs that are no images.

    Raises:
        ThreatError: see above.
    """
    if len(shape) != 3 or min(shape[1:]) < SMALLEST:
        raise ThreatError(f"{what} is for images and the inputs have shape {shape}", "it needs (C, H, W)")


def _points(multiples: Iterable[float], method: Attack, threat: ThreatModel, size: int) -> Iterator[Job]:
    least = 1.0 if threat.norm == "l0" else 0.0  # an L0 eps counts features
    widest = threat.ball.diameter(size, threat.box)
    for multiple in multiples:
        if multiple not in (0.0, 1.0) and least <= multiple * threat.eps <= widest:
            yield Job(method.kind, method, threat.at(multiple * threat.eps), "curve", multiple)


def _in_norm(method: Attack, norm: Norm, threat: ThreatModel, shape: tuple[int, ...]) -> Job:
    """A search for the nearest in another norm: eps is as wide as the box."""
    unit = ThreatModel(norm=norm, eps=1.0, box=threat.box, constraints=threat.constraints)
    return Job(f"{method.kind} in {norm}", method, unit.at(unit.ball.diameter(prod(shape), threat.box)), "norm")


def _distinct(methods: Iterable[Attack]) -> Iterator[Attack]:
    seen: list[Attack] = []
    for method in methods:
        if method not in seen:
            seen.append(method)
            yield method


def _name(method: Attack, others: list[Attack]) -> str:
    """The kind alone if it is the only one of it; else with whatever was set: ``"pgd(steps=50, loss=margin)"``."""
    return method.kind if sum(other.kind == method.kind for other in others) == 1 else _full(method)


def _full(method: Attack) -> str:
    given = method.model_dump(mode="json", exclude_defaults=True)
    inner = {key: getattr(method, key) for key in given}
    told = [f"{key}={_full(inner[key]) if isinstance(inner[key], Attack) else value}" for key, value in given.items()]
    return f"{method.kind}({', '.join(told)})" if told else method.kind
