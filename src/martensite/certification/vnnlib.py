"""VNN-LIB: properties of networks in SMT-LIB's notation, as the verification competition writes them.

Demarchi, Guidotti, Pulina and Tacchella 2023, "Supporting standardization of neural networks verification with VNN-LIB and
CoCoNet", sec. 3. A file describes the counterexamples: inputs ``X_i`` in boxes, outputs ``Y_j`` in half-spaces. The property
holds if there is none. Read are ``declare-const``, ``assert``, ``and``, ``or``, ``<=``, ``>=``, and linear terms of ``+``, ``-``
and ``*``.
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from martensite.core.errors import DataError

MOST_CASES, DEEPEST = 10_000, 100
TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")
VARIABLE = re.compile(r"([XY])_(\d+)")

Tree = str | list["Tree"]
Linear = dict[str, float]  # variable to coefficient; "" to the constant
Clause = tuple[Linear, ...]  # each of them <= 0


@dataclass(frozen=True)
class Case:
    """One kind of counterexample: an input of the box whose outputs y satisfy ``a @ y <= b``.

    Attributes:
        low: float64 (inputs,).
        high: float64 (inputs,).
        a: float64 (constraints, outputs).
        b: float64 (constraints,).
    """

    low: Tensor
    high: Tensor
    a: Tensor
    b: Tensor


def read_vnnlib(path: Path) -> tuple[Case, ...]:
    """The cases of a property, any of which a counterexample has to fit.

    Raises:
        DataError: the file can't be read, isn't of this language, leaves an input without bounds or bounds that cross, relates
            inputs to anything but numbers, or stands for more than ten thousand cases.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}", remedy="check the path") from error
    return parse_vnnlib(text, str(path))


def parse_vnnlib(text: str, name: str = "the property") -> tuple[Case, ...]:
    """As `read_vnnlib`, of a text; ``name`` is what messages call it."""
    declared: dict[str, set[int]] = {"X": set(), "Y": set()}
    factors: list[tuple[Clause, ...]] = []
    for tree in _trees(text, name):
        head = tree[0] if isinstance(tree, list) and tree else ""
        if head == "declare-const" and len(tree) == 3 and isinstance(tree[1], str):
            if (found := VARIABLE.fullmatch(tree[1])) is None:
                raise DataError(f"{name} declares {tree[1]}", "inputs are X_0, X_1, ... and outputs Y_0, Y_1, ...")
            declared[found[1]].add(int(found[2]))
        elif head == "assert" and len(tree) == 2:
            factors.append(_clauses(tree[1], name))
        else:
            raise DataError(f"{name} has the command {_words(tree)}", "declare-const and assert are read")
    sizes = {kind: len(places) for kind, places in declared.items()}
    for kind, places in declared.items():
        if places != set(range(len(places))) or not places:
            raise DataError(
                f"{name} declares {len(places)} variables {kind}_i", f"{kind}_0, {kind}_1, ... are needed, none left out"
            )
    if (cases := math.prod(len(factor) for factor in factors)) > MOST_CASES:
        raise DataError(f"{name} stands for {cases:,} cases", f"at most {MOST_CASES:,} are read", "split the property")
    return tuple(
        _case([literal for clause in chosen for literal in clause], sizes, name) for chosen in itertools.product(*factors)
    )


def _trees(text: str, name: str) -> Iterator[list[Tree]]:
    """The expressions at the top of a file, as nested lists."""
    stack: list[list[Tree]] = []
    for found in TOKEN.finditer(text):
        token = found[0]
        if token.startswith(";"):
            continue
        if token == "(":
            stack.append([])
            if len(stack) > DEEPEST:
                raise DataError(f"{name} nests brackets deeper than {DEEPEST}", "properties are flat", _line(text, found))
        elif not stack:
            raise DataError(f"{name} has {token!r} outside of any bracket", "each command stands in brackets", _line(text, found))
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) > 1:
            closed = stack.pop()
            stack[-1].append(closed)
        else:
            yield stack.pop()
    if stack:
        raise DataError(f"{name} ends inside {_words(stack[-1])}", "each bracket is closed", "the file may be cut off")


def _clauses(tree: Tree, name: str) -> tuple[Clause, ...]:
    """Disjunctive normal form: alternatives, each a conjunction of linear terms that are at most zero."""
    head, rest = (tree[0], tree[1:]) if isinstance(tree, list) and tree else ("", [])
    if head == "or" and rest:
        return tuple(clause for part in rest for clause in _clauses(part, name))
    if head == "and" and rest:
        parts = [_clauses(part, name) for part in rest]
        if math.prod(len(part) for part in parts) > MOST_CASES:
            raise DataError(f"{name} stands for more than {MOST_CASES:,} cases", remedy="split the property")
        return tuple(tuple(itertools.chain(*chosen)) for chosen in itertools.product(*parts))
    if head in ("<=", ">=") and len(rest) == 2:
        less, more = rest if head == "<=" else rest[::-1]
        return ((_sum(_linear(less, name), _linear(more, name), -1.0),),)
    raise DataError(f"{name} asserts {_words(tree)}", "and, or, <= and >= are read")


def _linear(tree: Tree, name: str) -> Linear:
    """A term as a linear function of the variables."""
    if isinstance(tree, str):
        if VARIABLE.fullmatch(tree):
            return {tree: 1.0}
        try:
            value = float(tree)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return {"": value}
    elif tree and tree[0] in ("+", "-", "*") and len(tree) > 1:
        first, *others = (_linear(part, name) for part in tree[1:])
        if tree[0] == "-" and not others:
            return {key: -value for key, value in first.items()}
        for other in others:
            if tree[0] == "*":
                constant, factor = (first, other) if set(first) <= {""} else (other, first)
                if not set(constant) <= {""}:
                    raise DataError(f"{name} multiplies variables in {_words(tree)}", "terms are linear")
                first = {key: value * constant.get("", 0.0) for key, value in factor.items()}
            else:
                first = _sum(first, other, 1.0 if tree[0] == "+" else -1.0)
        return first
    raise DataError(f"{name} has the term {_words(tree)}", "numbers, X_i, Y_j, +, - and * are read")


def _sum(one: Linear, other: Linear, sign: float) -> Linear:
    return {key: one.get(key, 0.0) + sign * other.get(key, 0.0) for key in {**one, **other}}


def _case(literals: list[Linear], sizes: dict[str, int], name: str) -> Case:
    """Sort the literals of one alternative into bounds of inputs and half-spaces of outputs."""
    low = torch.full((sizes["X"],), -torch.inf, dtype=torch.float64)
    high, rows, limits = -low, [], []
    for literal in literals:
        used = {key: value for key, value in literal.items() if key}
        for key in used:
            if int(key[2:]) >= sizes[key[0]]:
                raise DataError(f"{name} uses {key}", "each variable is declared")
        constant = literal.get("", 0.0)
        if used and all(key[0] == "Y" for key in used):
            row = torch.zeros(sizes["Y"], dtype=torch.float64)
            for key, value in used.items():
                row[int(key[2:])] = value
            rows.append(row)
            limits.append(-constant)
        elif len(used) == 1 and all(used.values()):
            ((key, slope),) = used.items()
            place, bound = int(key[2:]), -constant / slope
            if slope > 0:
                high[place] = min(float(high[place]), bound)
            else:
                low[place] = max(float(low[place]), bound)
        else:
            raise DataError(
                f"{name} relates {', '.join(sorted(used)) or 'no variable'}", "an input is compared with numbers only"
            )
    for place in (~(low.isfinite() & high.isfinite())).nonzero().flatten().tolist():
        raise DataError(f"{name} leaves X_{place} without bounds", "each input lies between two numbers")
    for place in (low > high).nonzero().flatten().tolist():
        raise DataError(
            f"{name} bounds X_{place} by {float(low[place])} and {float(high[place])}", "the lower bound is not above the upper"
        )
    a = torch.stack(rows) if rows else torch.zeros(0, sizes["Y"], dtype=torch.float64)
    return Case(low, high, a, torch.tensor(limits, dtype=torch.float64))


def _words(tree: Tree) -> str:
    text = tree if isinstance(tree, str) else f"({' '.join(_words(part) for part in tree)})"
    return text if len(text) <= 60 else text[:57] + "..."


def _line(text: str, found: re.Match[str]) -> str:
    return f"see line {text.count(chr(10), 0, found.start()) + 1}"
