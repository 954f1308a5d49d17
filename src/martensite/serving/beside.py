"""What may stand beside the version that serves: clients ask for a model, and don't know which version of it answers."""

from typing import Literal

from martensite.artifacts.manifest import Manifest
from martensite.core.errors import MartensiteError, ModelError
from martensite.serving.line import Line


def same_names(one: Manifest, two: Manifest) -> bool:
    """Whether two models call their classes the same, as far as both name them."""
    return not one.class_names or not two.class_names or one.class_names == two.class_names


def mismatch(first: Line, other: Line, outside: Literal["refuse", "clip"]) -> MartensiteError | None:
    """Why a canary or shadow doesn't go with the primary; None if it does.

    Args:
        first: The primary.
        other: The canary or shadow.
        outside: What becomes of inputs outside the box.
    """
    one, two = first.loaded.manifest, other.loaded.manifest
    what = f"the {other.route} of {first.name}"
    rule = "what stands beside a version is asked the same and answers the same classes"
    remedy = "serve it as a model with a name of its own, or replace the primary"
    takes, wanted = other.takes, first.takes
    if len(takes) != len(wanted) or any(side not in (-1, asked) for side, asked in zip(takes, wanted, strict=True)):
        return ModelError(f"{what} takes {[-1, *takes]} and the primary {[-1, *wanted]}", rule, remedy)
    if one.classes != two.classes:
        return ModelError(f"{what} has {two.classes} classes and the primary {one.classes}", rule, remedy)
    if not same_names(one, two):
        return ModelError(f"{what} has other class names, or another order, than the primary", rule, remedy)
    if other.route == "shadow":  # answers nobody: it misses what it doesn't take, and nobody asks for it by its number
        return None
    (low, high), (least, most) = other.levels, first.levels
    if outside == "refuse" and (low > least or high < most):
        value = f"{what} takes {low:g} to {high:g} and the primary {least:g} to {most:g}"
        return ModelError(value, "it may refuse nothing that the primary takes", f"outside: clip, or {remedy}")
    if first.version == other.version and first.loaded.digest != other.loaded.digest:
        value = f"{what} has the version {other.version[:60]!r}, as the primary has, and is another model"
        return ModelError(value, "a version is one model: clients ask for it by that", "release it with a number of its own")
    return None
