"""VNN-LIB: what a property says, checked point by point against a small evaluator of its own."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.certification.vnnlib import parse_vnnlib, read_vnnlib
from martensite.core.errors import DataError

DECLARED = "".join(f"(declare-const X_{i} Real)\n" for i in range(2)) + "".join(f"(declare-const Y_{i} Real)\n" for i in range(3))
BOX = "(assert (>= X_0 0.1)) (assert (<= X_0 0.3)) (assert (>= X_1 -1)) (assert (<= X_1 1e-1))\n"


def holds(case, x, y):
    """Whether a point is a counterexample of this case."""
    inside = bool(((x >= case.low) & (x <= case.high)).all())
    return inside and bool((case.a @ y <= case.b).all())


def test_a_robustness_property():
    text = DECLARED + BOX + "(assert (or (and (<= Y_0 Y_1)) (and (<= Y_0 Y_2))))"
    first, second = parse_vnnlib(text)
    assert torch.equal(first.low, torch.tensor([0.1, -1.0], dtype=torch.float64))
    assert torch.equal(first.high, torch.tensor([0.3, 0.1], dtype=torch.float64))
    assert torch.equal(first.a, torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64))
    assert torch.equal(second.a, torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64))
    assert float(first.b) == 0.0


def test_alternatives_of_the_input_too():
    boxes = "(assert (or (and (<= X_1 0) (>= X_1 -1)) (and (<= X_1 1) (>= X_1 0.5))))"
    text = DECLARED + "(assert (>= X_0 0)) (assert (<= X_0 1))" + boxes + "(assert (or (>= Y_0 2) (<= Y_1 -3)))"
    cases = parse_vnnlib(text)
    assert [float(case.high[1]) for case in cases] == [0.0, 0.0, 1.0, 1.0]
    assert [float(case.b) for case in cases] == [-2.0, -3.0, -2.0, -3.0]


def test_linear_terms():
    text = DECLARED + BOX + "(assert (<= (+ (* 2 Y_0) (- Y_1) (* Y_2 (* 3 0.5))) (- 4 1 (- 1))))"
    (case,) = parse_vnnlib(text)
    assert torch.equal(case.a, torch.tensor([[2.0, -1.0, 1.5]], dtype=torch.float64))
    assert float(case.b) == 4.0


def test_bounds_meet_and_may_be_written_either_way_round():
    text = DECLARED + BOX + "(assert (>= 0.2 X_0)) (assert (<= 0.15 (* 2 X_0)))"
    (case,) = parse_vnnlib(text)
    assert (float(case.low[0]), float(case.high[0])) == (0.1, 0.2)


def test_comments_and_spaces_say_nothing(tmp_path):
    path = tmp_path / "p.vnnlib"
    path.write_text("; a comment (with brackets\n" + DECLARED + BOX.replace(" ", "\n\t") + "(assert (<= Y_0 Y_1)) ; the end")
    assert len(read_vnnlib(path)) == 1


# Trees of and/or over comparisons of outputs, as text and as a function of the outputs.
LEAVES = st.tuples(st.sampled_from(["<=", ">="]), st.integers(0, 2), st.integers(0, 2))
FORMULAS = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)))


def written(tree):
    if len(tree) == 3:
        return f"({tree[0]} Y_{tree[1]} Y_{tree[2]})"
    return f"({tree[0]} {' '.join(written(part) for part in tree[1])})"


def true(tree, y):
    if len(tree) == 3:
        return y[tree[1]] <= y[tree[2]] if tree[0] == "<=" else y[tree[1]] >= y[tree[2]]
    return (all if tree[0] == "and" else any)(true(part, y) for part in tree[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(FORMULAS, min_size=1, max_size=2))
def test_the_cases_are_the_formula(formulas):
    cases = parse_vnnlib(DECLARED + BOX + "".join(f"(assert {written(tree)})" for tree in formulas))
    x = torch.tensor([0.2, 0.0], dtype=torch.float64)
    for values in itertools.product((0.0, 1.0, 2.0), repeat=3):
        expected = all(true(tree, values) for tree in formulas)
        assert any(holds(case, x, torch.tensor(values, dtype=torch.float64)) for case in cases) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DECLARED + BOX + "(assert (<= Y_0 Y_1)", "ends inside"),
        (DECLARED + BOX + "(assert (<= Y_0 Y_1)))", "outside of any bracket"),
        (DECLARED + "(assert (<= X_0 1))", "leaves X_0 without bounds"),
        (DECLARED + BOX + "(assert (>= X_0 0.5))", "bounds X_0 by 0.5 and 0.3"),
        (DECLARED + BOX + "(assert (<= X_0 X_1))", "relates X_0, X_1"),
        (DECLARED + BOX + "(assert (<= X_0 Y_1))", "relates X_0, Y_1"),
        (DECLARED + BOX + "(assert (<= 1 2))", "no variable"),
        (DECLARED + BOX + "(assert (<= (* Y_0 Y_1) 2))", "multiplies variables"),
        (DECLARED + BOX + "(assert (<= Y_7 2))", "uses Y_7"),
        (DECLARED + BOX + "(assert (= Y_0 2))", "asserts (= Y_0 2)"),
        (DECLARED + BOX + "(assert (<= Z_0 2))", "the term Z_0"),
        (DECLARED + BOX + "(assert (<= Y_0 1e999))", "the term 1e999"),
        ("(declare-const X_1 Real)(declare-const Y_0 Real)", "X_0, X_1, ... are needed"),
        ("(declare-const input Real)", "declares input"),
        ("(check-sat)", "the command (check-sat)"),
        ("", "declares 0 variables"),
        ("(" * 200, "nests brackets"),
        (DECLARED + BOX + "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 14, "stands for 16,384 cases"),
    ],
)
def test_what_is_no_property_is_refused(text, said):
    with pytest.raises(DataError) as error:
        parse_vnnlib(text)
    assert said in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="()<=>XY_01 .-+*;\nandorsert", max_size=200))
def test_no_text_crashes_the_reader(text):
    try:
        cases = parse_vnnlib(text)
    except DataError:
        return
    assert all(math.isfinite(float(case.low.sum() + case.high.sum())) for case in cases)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        read_vnnlib(tmp_path / "none.vnnlib")
