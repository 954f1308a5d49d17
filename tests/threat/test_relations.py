"""The grammar of relations: what it reads is what Python's own arithmetic says, and what it can't read it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from martensite.core.errors import ConfigError
from martensite.threat.relations import parse

NAMES = ("a", "b", "c")


def value(relation, at):
    return sum(weight * at[name] for name, weight in relation.coefficients.items()) - relation.bound


def sums(depth=2):
    number = st.sampled_from(["1", "2", "0.5", "4e0", ".25"])
    name = st.sampled_from(NAMES)
    leaf = st.one_of(number, name, st.builds("{} * {}".format, number, name), st.builds("{}/{}".format, name, number))
    if not depth:
        return leaf
    inner = sums(depth - 1)
    return st.one_of(
        leaf,
        st.builds("{} + {}".format, inner, leaf),
        st.builds("{} - {}".format, inner, leaf),
        st.builds("({}) * {}".format, inner, number),
        st.builds("{}*(-{})".format, number, name),
        st.builds("-{} + ({})".format, leaf, inner),
    )


@given(sums(), sums(), st.sampled_from(["<=", ">=", "=="]), st.tuples(*[st.integers(-20, 20)] * 3))
def test_a_relation_means_what_python_means_by_it(left, right, op, numbers):
    def gap(at):
        return eval(left, {}, at) - eval(right, {}, at)

    text, zero = f"{left} {op} {right}", dict.fromkeys(NAMES, 0)
    if all(gap({**zero, name: 1}) == gap(zero) for name in NAMES):  # numbers and coefficients are exact in floating point
        with pytest.raises(ConfigError, match="about no feature"):
            parse(text)
        return
    (relation,) = parse(text)
    at = dict(zip(NAMES, numbers, strict=True))
    assert value(relation, at) == pytest.approx(-gap(at) if op == ">=" else gap(at), abs=1e-9)
    assert relation.equal == (op == "==")


def test_what_relations_look_like_once_read():
    (relation,) = parse("2 * a + b - 3 <= c")
    assert (dict(relation.coefficients), relation.bound) == ({"a": 2.0, "b": 1.0, "c": -1.0}, 3.0)
    (relation,) = parse("total == x + y")
    assert relation.alone == ("total",)
    assert relation.equal
    low, high = parse("0 <= a <= b / 2")
    assert (dict(low.coefficients), low.bound) == ({"a": -1.0}, 0.0)
    assert dict(high.coefficients) == {"a": 1.0, "b": -0.5}
    (relation,) = parse("'char_freq_;' <= \"capital run\" + word.freq_3d")
    assert set(relation.coefficients) == {"char_freq_;", "capital run", "word.freq_3d"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a < b", "write <= or >="),
        ("a * b <= 1", "multiplies features"),
        ("1 / a <= 2", "divides by a feature"),
        ("a / 0 <= 2", "divides by zero"),
        ("a + b", "has none of"),
        ("a <= ", "has 'its end' where"),
        ("", "has 'its end' where"),
        ("1 <= 2", "about no feature"),
        ("a <= a", "about no feature"),
        ("(a + b <= 3", "closing parenthesis"),
        ("a) <= 3", "goes on with"),
        ("a b <= 3", "goes on with 'b'"),
        ("a <= 3; b", "can't be read from '; b'"),
        ("__import__('os').system('true') <= 1", "goes on with"),
        ("(" * 60 + "a" + ")" * 60 + " <= 1", "nested too deeply"),
        ("a = b", "can't be read from '= b'"),
        ("'a <= b", "can't be read from"),
    ],
)
def test_what_it_refuses(text, said):
    with pytest.raises(ConfigError, match="the relation") as caught:
        parse(text)
    assert said in str(caught.value)
