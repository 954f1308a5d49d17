"""Constraints compiled for inputs of one size: everything in input units, as tensors, with the equations solved.

An equation is solved for one of its features, which then follows from the others: the one that stands alone in it
(``total == x + y``), or else the one that weighs most. Fixed features and those of a one-hot group can't follow. What is left of
the equations speaks of no feature that can move, and holds because it held of the clean input.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from martensite.core.errors import ConfigError, ThreatError
from martensite.threat.ball import Box
from martensite.threat.constraints import Constraints

VANISHED = 1e-9  # share of the largest coefficient below which elimination has made one zero
EPS32 = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Rules:
    """What holds of flattened inputs z of d features.

    Attributes:
        low: (d,) least values.
        high: (d,) largest values.
        ranged: Whether they are narrower than the box anywhere.
        mutable: (d,) bool.
        scale: (d,) grid lines per input unit, 0 for features on no grid; value = (line - offset) / scale + the box's lower end.
        offset: (d,) the line at the box's lower end.
        gridded: Whether there is a grid.
        groups: Indices of each one-hot group.
        off: (d,) the value of a one-hot feature that is not chosen.
        on: (d,) of the one that is.
        dependents: (k,) features that follow from the others: ``z[dependents] = follow @ z + constant``.
        follow: (k, d).
        constant: (k,).
        normals: (k, d) orthonormal: a change of features that can follow keeps the equations if it is at right angles to them.
        less: (j, d) inequalities ``less @ z <= bound``.
        bound: (j,).
        equal: (e, d) equations ``equal @ z == level``, as they were written.
        level: (e,).
        unit: Rounding of float32 at the largest values of the box.
    """

    low: Tensor
    high: Tensor
    ranged: bool
    mutable: Tensor
    scale: Tensor
    offset: Tensor
    gridded: bool
    groups: tuple[Tensor, ...]
    off: Tensor
    on: Tensor
    dependents: Tensor
    follow: Tensor
    constant: Tensor
    normals: Tensor
    less: Tensor
    bound: Tensor
    equal: Tensor
    level: Tensor
    unit: float
    box: Box

    @property
    def separable(self) -> bool:
        """Whether every rule is about one feature alone."""
        return not self.groups and not len(self.less) and not len(self.equal)

    def to(self, device: torch.device) -> "Rules":
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved, groups=tuple(group.to(device) for group in self.groups))


def compile_rules(constraints: Constraints, box: Box, size: int) -> Rules:
    """Compile.

    Raises:
        ThreatError: inputs of another size, a range or a one-hot value outside the box, whole numbers too large for float32.
        ConfigError: equations that contradict each other.
    """
    constraints.check_size(size)
    check_box(constraints, box)
    width = box[1] - box[0]
    start, per_unit = torch.full((size,), box[0], dtype=torch.float64), torch.ones(size, dtype=torch.float64)
    for place in constraints.indices(constraints.units):
        least, most = constraints.interval(place, box)
        start[place], per_unit[place] = least, (most - least) / width

    def inside(values: Tensor) -> Tensor:
        return box[0] + (values - start) / per_unit

    low, high = torch.full_like(start, box[0]), torch.full_like(start, box[1])
    for reference, (least, most) in constraints.ranges.items():
        places = list(constraints.places(reference))
        low[places] = torch.maximum(low, inside(torch.full_like(start, least)))[places]
        high[places] = torch.minimum(high, inside(torch.full_like(start, most)))[places]
    mutable = torch.ones(size, dtype=torch.bool)
    mutable[list(constraints.immutable)] = False
    scale, offset = torch.zeros_like(start), torch.zeros_like(start)
    if constraints.levels is not None:
        scale[:] = (constraints.levels - 1) / width
    whole = list(constraints.indices(constraints.integer))
    scale[whole], offset[whole] = per_unit[whole], start[whole]
    groups = tuple(torch.tensor(group) for group in constraints.groups)

    rows, bounds, kinds, alone = [], [], [], []
    for relation in constraints.equations:
        row = torch.zeros_like(start)
        for name, value in relation.coefficients.items():
            row[constraints.places(name)[0]] += value * per_unit[constraints.places(name)[0]]
        shift = sum(
            value * (start - box[0] * per_unit)[constraints.places(name)[0]] for name, value in relation.coefficients.items()
        )
        rows.append(row)
        bounds.append(relation.bound - float(shift))
        kinds.append(relation.equal)
        alone.append([constraints.places(name)[0] for name in relation.alone])
    matrix = torch.stack(rows) if rows else start.new_zeros(0, size)
    right, equal = torch.tensor(bounds, dtype=torch.float64), torch.tensor(kinds, dtype=torch.bool)
    able = mutable.clone()
    for group in groups:
        able[group] = False
    named = [places for places, kind in zip(alone, kinds, strict=True) if kind]
    dependents, follow, constant = _solve(matrix[equal], right[equal], able, scale > 0, named, constraints)
    solved = torch.where(able, F.one_hot(dependents, size) - follow, 0.0)
    normals = torch.linalg.qr(solved.T).Q.T
    return Rules(
        low, high, bool((low > box[0]).any() or (high < box[1]).any()), mutable, scale, offset, bool((scale > 0).any()), groups,
        inside(torch.zeros_like(start)), inside(torch.ones_like(start)), dependents, follow, constant,
        normals, matrix[~equal], right[~equal], matrix[equal], right[equal], EPS32 * max(abs(box[0]), abs(box[1]), width), box,
    )  # fmt: skip


def check_box(constraints: Constraints, box: Box) -> None:
    """Refuse values that the box can't hold, or float32 can't tell apart.

    Raises:
        ThreatError: a range outside the box, a one-hot feature that can't be 0 or 1, whole numbers too large.
    """
    places = {place: reference for reference in constraints.ranges for place in constraints.places(reference)}
    for place, reference in places.items():
        (least, most), (low, high) = constraints.ranges[reference], constraints.interval(place, box)
        if most < low or least > high:
            raise ThreatError(
                f"the range of {constraints.name(place)!r} is [{least:g}, {most:g}] and the box holds [{low:g}, {high:g}]",
                "a range meets the box",
                "ranges are in original units: state units= for a scaled feature",
            )
    for place in (place for group in constraints.groups for place in group):
        low, high = constraints.interval(place, box)
        if low > 0.0 or high < 1.0:
            raise ThreatError(
                f"the one-hot feature {constraints.name(place)!r} ranges over [{low:g}, {high:g}]",
                "it has to hold 0 and 1",
                "state units= for a scaled feature",
            )
    largest = EPS32 * max(abs(box[0]), abs(box[1]), box[1] - box[0]) / (box[1] - box[0])
    for place in constraints.indices(constraints.integer):
        low, high = constraints.interval(place, box)
        if 4.0 * largest * (high - low) >= 0.5:
            raise ThreatError(
                f"the integer feature {constraints.name(place)!r} ranges over [{low:g}, {high:g}]",
                "inputs in float32 can't tell its values apart",
                "leave it out of integer=",
            )


def _solve(
    matrix: Tensor, right: Tensor, able: Tensor, grid: Tensor, alone: list[list[int]], constraints: Constraints
) -> tuple[Tensor, Tensor, Tensor]:
    """Gauss-Jordan elimination: the features that follow, and how they follow from those that don't."""
    matrix, right = matrix.clone(), right.clone()
    size = matrix.abs().amax(1) if len(matrix) else right
    pivots: dict[int, int] = {}
    for row in range(len(matrix)):
        here = matrix[row].abs() > VANISHED * size[row]
        matrix[row] = torch.where(here, matrix[row], 0.0)
        if not bool(here.any()):
            if abs(float(right[row])) > VANISHED * float(size[row]):
                raise ConfigError(
                    f"the relation {[one.text for one in constraints.equations if one.equal][row]!r} contradicts those before it",
                    "no input can keep them all", "take one out",
                )  # fmt: skip
            continue
        free = here & able
        choice = [place for place in alone[row] if bool(free[place])]
        choice += matrix[row].abs().where(free, 0.0).argsort(descending=True)[: int(free.sum())].tolist()
        # A whole number that follows from others needn't be one.
        choice.sort(key=lambda place: bool(grid[place]))
        if not choice:
            continue
        pivot = choice[0]
        matrix[row], right[row] = matrix[row] / matrix[row, pivot], right[row] / matrix[row, pivot]
        for other in range(len(matrix)):
            if other != row:
                factor = matrix[other, pivot].clone()
                matrix[other] -= factor * matrix[row]
                right[other] -= factor * right[row]
                matrix[other, pivot] = 0.0
        pivots[pivot] = row
    places, rows = torch.tensor(list(pivots), dtype=torch.int64), torch.tensor(list(pivots.values()), dtype=torch.int64)
    follow = -matrix[rows]
    follow[torch.arange(len(rows)), places] = 0.0
    return places, follow, right[rows]
