"""One base class for everything that is configured, and the one YAML loader.

A part (an attack, an objective, a suite, a pipeline) is a frozen pydantic class that holds its own parameters, so the object
in Python, its YAML and its record in a report are the same thing.
"""

import difflib
import json
import re
import types
import typing
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from martensite.core.errors import ConfigError, MartensiteError

# Three digits of exponent cover every float; with more, "1e999999999" would be computed exactly, for hours.
DECIMAL = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?"
NUMBER = re.compile(rf"{DECIMAL}(\s*/\s*{DECIMAL})?")


class Config(BaseModel):
    """Base of all configuration: immutable, strict, and closed to unknown keys.

    Wherever a float is meant, the strings ``"8/255"`` and ``"1e-3"`` are numbers. Wrong values raise `ConfigError`, in Python
    as in YAML.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(type(self), error) from None
        except TypeError as error:  # YAML's keys may be anything; below this one they are the names of arguments
            if "keywords must be strings" not in str(error):
                raise
            name = type(self).__name__
            raise ConfigError(f"{name} holds a key that is no text", "keys are names", "leave it out, or quote it") from None

    @field_validator("*", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        return _shape_like(value, annotation)

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Build from a mapping as read from YAML or JSON.

        Raises:
            ConfigError: for an unknown key (with the nearest known one) or a value out of range.
        """
        if not isinstance(document, dict):
            raise ConfigError(
                f"{cls.__name__} was given {document!r}",
                "a mapping of keys is needed",
                f"keys: {', '.join(cls.model_fields)}",
            )
        return cls(**{str(key): value for key, value in document.items()})

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Read a YAML file (a `Path`) or YAML text (a `str`).

        Raises:
            ConfigError: as `load_yaml` and `parse`; of a file it names the file.
        """
        document = load_yaml(source)
        if not isinstance(source, Path):
            return cls.parse(document)
        if document is None:
            raise ConfigError(f"{source} is empty", "a mapping of keys is needed", f"keys: {', '.join(cls.model_fields)}")
        try:
            return cls.parse(document)
        except MartensiteError as error:
            raise type(error)(f"{source}: {error.value}", error.rule, error.remedy) from None


def load_yaml(source: str | Path) -> Any:
    """Read YAML from a file (`Path`) or from text (`str`), with no tags that build objects.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or repeats a key.
    """
    name = str(source) if isinstance(source, Path) else "YAML"
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} can't be read: {error}", remedy="give the path of a readable YAML file") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: the 30th of February
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply", remedy="give a flatter document") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would silently resolve to the last one."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        # Looked at as it is written: later, merge keys (<<) bring in keys that may rightly be given again.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node


def to_number(text: str) -> float | None:
    """Read ``"0.1"``, ``"1e-3"`` or ``"8/255"``; None if the text is no number."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    numerator, _, denominator = text.strip().partition("/")
    try:
        return float(Fraction(numerator.strip()) / Fraction(denominator.strip() or 1))
    except (ZeroDivisionError, OverflowError):
        return None


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A remedy for a mistyped name: the nearest known one first, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = f"known: {', '.join(names)}"
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: what digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def explain(cls: type[BaseModel], error: ValidationError) -> ConfigError:
    """Turn one of pydantic's complaints into ours: value, rule, remedy. An unknown key first: it explains a missing one."""
    complaints = error.errors(include_url=False)
    first = next((one for one in complaints if one["type"] == "extra_forbidden"), complaints[0])
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        known = cls.model_fields if len(first["loc"]) == 1 else ()
        return ConfigError(
            f"{cls.__name__} has no key {place!r}", "unknown keys are refused", nearest(key, known) if known else ""
        )
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return ConfigError(f"{cls.__name__} lacks {place!r}", "this key is required", f"add {place!r}")
    if isinstance(cause := first.get("ctx", {}).get("error"), ConfigError):
        return cause
    where = f"{cls.__name__}.{place}" if place else cls.__name__
    rule = str(first["msg"]).removeprefix("Value error, ")
    shown = repr(first["input"])
    return ConfigError(f"{where} is {shown if len(shown) < 200 else shown[:200] + '...'}", rule[:1].lower() + rule[1:])


def _shape_like(value: Any, annotation: Any) -> Any:
    """Read number strings where a float is meant and lists where a tuple is meant, following the annotation inward."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shape_like(value, inner[0])
    if origin in (typing.Union, types.UnionType):
        if isinstance(value, str) and str in map(_bare, inner):
            return value
        for option in inner:
            if (shaped := _shape_like(value, option)) is not value:
                return shaped
        return value
    if annotation is float and isinstance(value, str):
        number = to_number(value)
        return value if number is None else number
    if origin is tuple and isinstance(value, list | tuple):
        each = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else [*inner, *[Any] * (len(value) - len(inner))]
        return tuple(_shape_like(item, kind) for item, kind in zip(value, each, strict=False))
    if origin is list and isinstance(value, list):
        return [_shape_like(item, inner[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _shape_like(item, inner[1]) for key, item in value.items()}
    return value


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
