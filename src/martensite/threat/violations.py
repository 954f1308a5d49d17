"""Which rules inputs break: each rule evaluated for itself, in float64 and original units.

This judges what `repair` makes, so it shares nothing with it but the reading of the rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.core.errors import DataError
from martensite.threat.ball import Box
from martensite.threat.constraints import Constraints

TOLERANCE = 2.0 * torch.finfo(torch.float32).eps  # of the largest value of the box


@dataclass(frozen=True)
class Violation:
    """A rule that some inputs break.

    Attributes:
        rule: In words.
        broken: (n,) bool.
        shown: (n,) the value that breaks it, in original units.
        name: Of that value.
    """

    rule: str
    broken: Tensor
    shown: Tensor
    name: str


def violations(z: Tensor, x: Tensor, constraints: Constraints, box: Box) -> list[Violation]:
    """Rules that some of the inputs z (n, *d) break, which were made from clean inputs x (n, *d); none: an empty list.

    A value may be off by the rounding of float32 at the largest values of the box.
    """
    found = _each(z.flatten(1), x.flatten(1), constraints, box)
    return [violation for violation in found if bool(violation.broken.any())]


def check_clean(x: Tensor, constraints: Constraints, box: Box) -> None:
    """Refuse clean inputs (n, *d) that break the rules themselves.

    Raises:
        DataError: how many, the first of them, the rule and the value.
    """
    constraints.check_size(x[0].numel())
    found = violations(x, x, constraints, box)
    if not found:
        return
    every = torch.stack([violation.broken for violation in found])
    first = int(every.any(0).nonzero()[0])
    worst = next(violation for violation in found if bool(violation.broken[first]))
    raise DataError(
        f"{int(every.any(0).sum())} of {len(x)} clean inputs break the constraints; sample {first} breaks {worst.rule!r}: "
        f"{worst.name} is {float(worst.shown[first]):.6g}",
        "what an adversary makes from an input keeps the rules only if the input does",
        "mend the constraints (units= if features are scaled), or leave those samples out",
    )


def _each(z: Tensor, x: Tensor, constraints: Constraints, box: Box) -> Iterator[Violation]:
    width, largest = box[1] - box[0], max(abs(box[0]), abs(box[1]), box[1] - box[0])

    def original(place: int) -> Tensor:
        low, high = constraints.interval(place, box)
        return low + (z[:, place].double() - box[0]) / width * (high - low)

    def tolerance(place: int) -> float:
        low, high = constraints.interval(place, box)
        return TOLERANCE * largest / width * (high - low)

    fixed = torch.tensor(constraints.immutable, dtype=torch.int64, device=z.device)
    if len(fixed):
        moved = z[:, fixed] != x[:, fixed]
        place = int(fixed[moved.any(0).to(torch.uint8).argmax()])
        yield Violation("fixed features stay", moved.any(1), original(place), constraints.name(place))
    for reference, (least, most) in constraints.ranges.items():
        for place in constraints.places(reference):
            value, off = original(place), tolerance(place)
            outside = (value < least - off) | (value > most + off)
            yield Violation(f"{least:g} <= {constraints.name(place)} <= {most:g}", outside, value, constraints.name(place))
    for place in constraints.indices(constraints.integer):
        value = original(place)
        apart = (value - value.round()).abs() > tolerance(place)
        yield Violation(f"{constraints.name(place)} is a whole number", apart, value, constraints.name(place))
    for group in constraints.groups:
        members = torch.stack([original(place) for place in group], dim=1)
        offs = torch.tensor([tolerance(place) for place in group], dtype=torch.float64, device=z.device)
        ones, zeros = (members - 1.0).abs() <= offs, members.abs() <= offs
        names = [constraints.name(place) for place in group]
        good = (ones.sum(1) == 1) & (zeros.sum(1) == len(group) - 1)
        yield Violation(f"one of {', '.join(names)} is 1 and the others are 0", ~good, members.sum(1), "their sum")
    for relation in constraints.equations:
        terms = [(weight, constraints.places(name)[0]) for name, weight in relation.coefficients.items()]
        gap = torch.stack([weight * original(place) for weight, place in terms]).sum(0) - relation.bound
        off = sum(abs(weight) * tolerance(place) for weight, place in terms)
        yield Violation(relation.text, (gap.abs() if relation.equal else gap) > off, gap, "left minus right")
    if constraints.levels is not None:
        steps = (z.double() - box[0]) / width * (constraints.levels - 1)
        off_grid = (steps - steps.round()).abs() > TOLERANCE * largest / width * (constraints.levels - 1)
        place = int(off_grid.any(0).to(torch.uint8).argmax())
        yield Violation(f"values lie on {constraints.levels} levels", off_grid.any(1), original(place), constraints.name(place))
