"""The same report with intervals of the other kind."""

from typing import Any, Literal, TypeVar

from martensite.core.config import Config
from martensite.evaluation.rate import Rate
from martensite.evaluation.report import Report

R = TypeVar("R", bound=Report)


def restated(report: R, method: Literal["clopper-pearson", "wilson"]) -> R:
    """Every rate with an interval made by ``method``; one that must hold at any time stays as it is."""
    changed: R = _again(report, method)
    return changed


def _again(value: Any, method: Literal["clopper-pearson", "wilson"]) -> Any:
    if isinstance(value, Rate):
        return value if value.method == "anytime" else Rate.of(value.count, value.n, value.confidence, method)
    if isinstance(value, tuple):
        return tuple(_again(one, method) for one in value)
    if not isinstance(value, Config):
        return value
    fields = {name: getattr(value, name) for name in type(value).model_fields}
    changed = {name: again for name, old in fields.items() if (again := _again(old, method)) is not old}
    return value.model_copy(update=changed) if changed else value
