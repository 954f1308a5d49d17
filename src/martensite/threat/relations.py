"""Relations between features: linear equations and inequalities, written as one would on paper.

    relation    =  sum  op  sum  { op  sum }          op: <=  >=  ==
    sum         =  ["+" | "-"]  product  { ("+" | "-")  product }
    product     =  factor  { ("*" | "/")  factor }    one factor at most holds features; a divisor is a number
    factor      =  number  |  feature  |  "(" sum ")"

A feature is a name such as ``total`` or ``word.freq_3d``, or any text in quotes: ``'char_freq_;'``. Nothing is ever evaluated as
code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from martensite.core.errors import ConfigError

TOKEN = re.compile(
    r"\s*(?:(?P<number>(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?)|(?P<name>[^\W\d][\w.]*)|'(?P<quoted>[^']+)'|\"(?P<double>[^\"]+)\""
    r"|(?P<op><=|>=|==)|(?P<sign>[-+*/()]))"
)
DEEPEST = 50  # parentheses in one another
GRAMMAR = "a relation is linear, e.g. 'a <= b', 'total == x + y' or '2 * a + b - 3 >= 0'"


@dataclass(frozen=True)
class Relation:
    """``sum of coefficients[name] * name <= bound``, or ``== bound``.

    Attributes:
        text: As it was written.
        coefficients: Name to a number that is not 0.
        equal: Whether it is an equation.
        bound: The right side.
        alone: Features that stand by themselves on one side: what an equation defines, left before right.
    """

    text: str
    coefficients: Mapping[str, float]
    equal: bool
    bound: float
    alone: tuple[str, ...]


@dataclass
class _Sum:
    coefficients: dict[str, float]
    constant: float

    def plus(self, other: "_Sum", factor: float) -> "_Sum":
        total = dict(self.coefficients)
        for name, value in other.coefficients.items():
            total[name] = total.get(name, 0.0) + factor * value
        return _Sum(total, self.constant + factor * other.constant)

    def times(self, factor: float) -> "_Sum":
        return _Sum({name: factor * value for name, value in self.coefficients.items()}, factor * self.constant)

    @property
    def alone(self) -> tuple[str, ...]:
        one = len(self.coefficients) == 1 and self.constant == 0.0
        return tuple(name for name, value in self.coefficients.items() if one and value == 1.0)


def parse(text: str) -> tuple[Relation, ...]:
    """Read a relation; a chain such as ``0 <= a <= b`` is several.

    Raises:
        ConfigError: not of the grammar above, not linear, or about no feature.
    """
    reader = _Reader(text)
    left, found = reader.sum(), []
    while reader.kind == "op":
        op = reader.take()
        right = reader.sum()
        gap = left.plus(right, -1.0)
        sign = -1.0 if op == ">=" else 1.0
        coefficients = {name: sign * value for name, value in gap.coefficients.items() if value != 0.0}
        if not coefficients:
            raise reader.error("is about no feature")
        found.append(Relation(text, coefficients, op == "==", -sign * gap.constant, left.alone + right.alone))
        left = right
    if reader.kind:
        raise reader.error(f"goes on with {reader.value!r} where none of <=, >=, ==, +, -, *, / is")
    if not found:
        raise reader.error("has none of <=, >=, ==")
    return tuple(found)


class _Reader:
    """Recursive descent over the tokens of one relation."""

    def __init__(self, text: str) -> None:
        self.text, self._at, self._depth = text, 0, 0
        self.kind, self.value = "", ""
        self.take()

    def error(self, what: str) -> ConfigError:
        strict = "<" in self.text.replace("<=", "") or ">" in self.text.replace(">=", "")
        remedy = "write <= or >= for < and >" if strict else "write it so; a name with other characters goes in quotes"
        return ConfigError(f"the relation {self.text!r} {what}", GRAMMAR, remedy)

    def take(self) -> str:
        """The present token; goes to the next one, whose kind is "" at the end."""
        taken = self.value
        if not self.text[self._at :].strip():
            self.kind, self.value = "", "its end"
            return taken
        match = TOKEN.match(self.text, self._at)
        if match is None:
            raise self.error(f"can't be read from {self.text[self._at :].strip()!r} on")
        self._at = match.end()
        self.kind, self.value = next((kind, value) for kind, value in match.groupdict().items() if value is not None)
        self.kind = "name" if self.kind in ("quoted", "double") else self.kind
        return taken

    def sum(self) -> _Sum:
        sign = -1.0 if self._at_sign("+-") and self.take() == "-" else 1.0
        total = self._product().times(sign)
        while self._at_sign("+-"):
            sign = -1.0 if self.take() == "-" else 1.0
            total = total.plus(self._product(), sign)
        return total

    def _product(self) -> _Sum:
        total = self._factor()
        while self._at_sign("*/"):
            divide = self.take() == "/"
            factor = self._factor()
            if divide and (factor.coefficients or factor.constant == 0.0):
                raise self.error("divides by " + ("a feature" if factor.coefficients else "zero"))
            if factor.coefficients and total.coefficients:
                raise self.error("multiplies features with each other")
            if divide:
                total = total.times(1.0 / factor.constant)
            else:
                total = total.times(factor.constant) if not factor.coefficients else factor.times(total.constant)
        return total

    def _factor(self) -> _Sum:
        if self.kind == "number":
            return _Sum({}, float(self.take()))
        if self.kind == "name":
            return _Sum({self.take(): 1.0}, 0.0)
        if not self._at_sign("("):
            raise self.error(f"has {self.value!r} where a number or a feature belongs")
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.error("is nested too deeply")
        self.take()
        inner = self.sum()
        if not self._at_sign(")"):
            raise self.error("lacks a closing parenthesis")
        self.take()
        self._depth -= 1
        return inner

    def _at_sign(self, signs: str) -> bool:
        return self.kind == "sign" and self.value in signs
