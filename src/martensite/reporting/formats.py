"""How figures are written on the page; these are the templates' filters."""

import json
import re
from typing import Any

import yaml

from martensite.evaluation.report import Rate, RobustnessReport
from martensite.evaluation.union import UnionReport

MINUS = "\N{MINUS SIGN}"
TO = "\N{EN DASH}"
NOTHING = (TO, "")  # a cell of a table where there is no figure


def percent(value: float) -> str:
    """``0.9194`` as ``"91.9%"``; what is not all is never written as 100%, nor what is not nothing as 0%."""
    text = f"{value:.1%}"
    if text == "100.0%" and value < 1:
        return ">99.9%"
    if text == "0.0%" and value > 0:
        return "<0.1%"
    return text


def interval(rate: Rate) -> str:
    """The ends of a rate's interval, e.g. ``"88.6-94.5%"`` with an en dash."""
    return f"{100 * rate.low:.1f}{TO}{100 * rate.high:.1f}%"


def points(value: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    text = f"{100 * abs(value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else MINUS}{text}"


def number(value: float) -> str:
    """Four significant digits for a radius or an eps."""
    return f"{value:.4g}"


def p_value(value: float) -> str:
    """Two digits of a probability, e.g. ``"0.032"``; what is hardly any is not written as none."""
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def count(value: int) -> str:
    """Thousands grouped: ``1,234,567``."""
    return f"{value:,}"


def seconds(value: float) -> str:
    """Wall time, as exact as one reads it."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def cost(report: RobustnessReport | UnionReport) -> int:
    """Passes of either kind, times samples, that all attacks spent, under all threat models."""
    if isinstance(report, UnionReport):
        return sum(map(cost, report.reports))
    return sum(row.forwards + row.backwards for row in report.attacks)


def settings(part: dict[str, Any]) -> str:
    """A part's configuration without its kind, in one line: ``"steps 50, restarts 2, loss ce"``."""
    return ", ".join(f"{_words(key)} {_scalar(value)}" for key, value in part.items() if key != "kind" and value is not None)


def kind(part: dict[str, Any]) -> str:
    """Which part a configuration is of."""
    return str(part.get("kind", "unnamed"))


def stage_name(key: str) -> str:
    """A stage without the number that sorts its folder: ``"04-harden"`` is ``"harden"``."""
    return re.sub(r"^\d+-", "", key)


def as_yaml(document: dict[str, Any]) -> str:
    """Configuration as the file it can be saved to."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _scalar(value: Any) -> str:
    if isinstance(value, dict):
        inner = settings(value)
        return f"{kind(value)} ({inner})" if inner else kind(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
