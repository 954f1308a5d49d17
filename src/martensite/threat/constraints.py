"""Which inputs an adversary can make at all, beyond norm and box: what tables and 8-bit images allow.

Ballet et al. 2019, "Imperceptible adversarial attacks on tabular data", arXiv:1911.03274, and Simonetto et al. 2022, "A unified
framework for adversarial attack and defense in constrained feature space", arXiv:2112.01156 (sec. 3, whose grammar of relations
this one is the linear part of): an adversarial example that no real client, packet or program could have is none.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import torch
from pydantic import Field, field_validator, model_validator

from martensite.core.config import Config, nearest
from martensite.core.errors import ConfigError, ThreatError
from martensite.threat.relations import Relation, parse

INDEX = re.compile(r"\d+")
SLICE = re.compile(r"(\d+):(\d+)")
Interval = tuple[float, float]


class Constraints(Config):
    """What must hold of every adversarial z made from a clean input x, besides ball and box.

    Features are those of the flattened input. Wherever features are named, ``"age"`` is a name, ``3`` an index and ``"3:7"`` the
    indices 3 to 6; without ``names``, feature 3 is also ``x3``, as relations need it.

    Args:
        names: One a feature, in order.
        units: Feature to the two values, in original units, that the ends of the box stand for (the smallest and the largest of
            a column scaled by ``"minmax"``); features that are not listed are in the box's own units. Ranges, integers, one-hot
            values and relations are all in original units.
        fixed: Features that stay as they are; or a boolean tensor or array of one input's shape, true where nothing may change.
        ranges: Feature to its least and largest value.
        integer: Features that are whole numbers; given as ``fixed`` is.
        one_hot: Groups of features of which exactly one is 1 and the others are 0.
        relations: Linear equations and inequalities; see `relations`.
        levels: All features lie on a grid of so many evenly spaced values from end to end of the box: 256 for 8-bit images.

    Raises:
        ConfigError: an unknown feature, groups that overlap, an empty interval, a relation that can't be read.
    """

    names: tuple[str, ...] | None = None
    units: dict[str, Interval] = Field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    ranges: dict[str, Interval] = Field(default_factory=dict)
    integer: tuple[str, ...] = ()
    one_hot: tuple[tuple[str, ...], ...] = ()
    relations: tuple[str, ...] = ()
    levels: int | None = Field(default=None, ge=2)

    @field_validator("fixed", "integer", "one_hot", "units", "ranges", mode="before")
    @classmethod
    def _read_features(cls, value: Any) -> Any:
        return _as_text(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, count in Counter(self.names or ()).items():
            if count > 1 or not name or INDEX.fullmatch(name) or SLICE.fullmatch(name):
                raise ConfigError(
                    f"the feature name {name!r} " + ("is there twice" if count > 1 else "reads as an index"),
                    "names are unique and no numbers",
                    "rename it",
                )
        for kind, intervals in (("units", self.units), ("range", self.ranges)):
            for feature, (low, high) in intervals.items():
                if low > high or (kind == "units" and low == high):
                    raise ConfigError(
                        f"the {kind} of {feature!r} is [{low:g}, {high:g}]", "it goes from low to high", "swap them"
                    )
        for reference in (*self.units, *self.ranges, *self.fixed, *self.integer):
            self.places(reference)
        if self.levels is not None and (self.integer or self.one_hot):
            raise ConfigError(
                f"levels is {self.levels}, with integer or one-hot features",
                "levels put every feature on one grid",
                "leave levels out, or the others",
            )
        owner: dict[int, int] = {}
        for number, group in enumerate(self.groups):
            if len(group) < 2:
                raise ConfigError(f"one-hot group {number} has {len(group)} features", "a choice is among two at least")
            for place in group:
                if place in owner:
                    raise ConfigError(
                        f"feature {self.name(place)!r} is in the one-hot groups {owner[place]} and {number}",
                        "a feature belongs to one group, once",
                        "take it out of one",
                    )
                owner[place] = number
        for relation in self.equations:
            for name in relation.coefficients:
                self.places(name)
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the one-hot groups."""
        return tuple(self.indices(group) for group in self.one_hot)

    @cached_property
    def equations(self) -> tuple[Relation, ...]:
        """The relations, read."""
        return tuple(relation for text in self.relations for relation in parse(text))

    @cached_property
    def immutable(self) -> tuple[int, ...]:
        """Indices of the fixed features."""
        return self.indices(self.fixed)

    def indices(self, references: Iterable[str]) -> tuple[int, ...]:
        """Indices of several references, in their order."""
        return tuple(place for reference in references for place in self.places(reference))

    def places(self, reference: str) -> tuple[int, ...]:
        """Indices of the features that a name, an index or a slice means.

        Raises:
            ConfigError: no such feature.
        """
        if match := SLICE.fullmatch(reference):
            found = tuple(range(int(match[1]), int(match[2])))
        elif INDEX.fullmatch(reference):
            found = (int(reference),)
        elif self.names is not None:
            number = self._numbers.get(reference)
            found = () if number is None else (number,)
        else:
            found = (int(reference[1:]),) if re.fullmatch(r"x\d+", reference) else ()
        if not found or (self.names is not None and found[-1] >= len(self.names)):
            rule = (
                "there are no names, and an index, x3 or 3:7 is needed" if self.names is None else "features are those of names"
            )
            remedy = nearest(reference, self.names) if self.names else "give names="
            raise ConfigError(f"there is no feature {reference!r}", rule, remedy)
        return found

    def name(self, place: int) -> str:
        """What messages call a feature."""
        return f"x{place}" if self.names is None else self.names[place]

    def interval(self, place: int, box: Interval) -> Interval:
        """The original values of a feature that the ends of the box stand for."""
        return self._units.get(place, box)

    def check_size(self, size: int) -> None:
        """Refuse inputs of another number of features.

        Raises:
            ThreatError: not as many as there are names, or fewer than the largest index needs.
        """
        if self.names is not None and len(self.names) != size:
            raise ThreatError(
                f"the constraints name {len(self.names)} features and inputs have {size}",
                "one name a feature is needed, in the order of the columns without the label",
                "mend names=",
            )
        references = [*self.units, *self.ranges, *self.fixed, *self.integer, *(name for group in self.one_hot for name in group)]
        references += [name for relation in self.equations for name in relation.coefficients]
        for reference in references:
            if (last := self.places(reference)[-1]) >= size:
                raise ThreatError(
                    f"the constraints speak of feature {last} ({reference!r}) and inputs have {size} features",
                    f"indices go from 0 to {size - 1} over the flattened input",
                )

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names or ())}

    @cached_property
    def _units(self) -> dict[int, Interval]:
        return {place: interval for reference, interval in self.units.items() for place in self.places(reference)}


def _as_text(value: Any) -> Any:
    """References as text, and masks as the slices where they are true, so that YAML, Python and reports say the same."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return {_as_text(key): item for key, item in value.items()}
    if hasattr(value, "__array__"):
        mask = torch.as_tensor(value)
        if mask.dtype != torch.bool:
            raise ConfigError(
                f"a mask of type {mask.dtype} was given", "a mask is boolean", "give mask > 0, or indices as a list"
            )
        flat = mask.flatten().int()
        edges = torch.cat([flat.new_zeros(1), flat, flat.new_zeros(1)]).diff().nonzero().squeeze(1).tolist()
        return tuple(f"{start}:{end}" for start, end in zip(edges[::2], edges[1::2], strict=True))
    return tuple(_as_text(item) for item in value) if isinstance(value, list | tuple) else value
