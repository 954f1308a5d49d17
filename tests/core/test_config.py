"""Configuration: numbers as people write them, closed to everything else."""

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, PositiveFloat, ValidationError

from martensite.core.config import Config, canonical_json, load_yaml, nearest, to_number
from martensite.core.errors import ConfigError


class Inner(Config):
    rate: float = 0.5


class Part(Config):
    real: float = 0.0
    positive: PositiveFloat | None = None
    whole: int = 1
    flag: bool = False
    text: str = ""
    text_or_real: Annotated[str, Field(min_length=1)] | float = 0.0
    word_or_real: Literal["auto"] | float = "auto"
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[float, ...] | None = None
    table: tuple[tuple[float, ...], ...] = ()
    real_list: list[float] = Field(default_factory=list)
    by_name: dict[str, float] = Field(default_factory=dict)
    either: tuple[float, ...] | dict[str, float] | None = None
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    anything: Any = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-8/255", -8 / 255),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("0.1/3", 0.1 / 3),
        ("1e2/1e3", 0.1),
        ("0", 0.0),
    ],
)
def test_numbers_as_written(text, value):
    assert to_number(text) == pytest.approx(value, rel=1e-15)
    assert Part(real=text).real == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "1/0",
        "0/0",
        "1/2/3",
        "8/",
        "/255",
        "eps",
        "",
        "1e",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "1_000",
        "1,5",
        "8/x",
        "1e999999999",
    ],
)
def test_what_is_no_number_is_refused(text):
    assert to_number(text) is None
    with pytest.raises(ConfigError, match=r"Part\.real"):
        Part(real=text)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9))
@settings(deadline=None)
def test_a_fraction_is_the_nearest_float(numerator, denominator):
    assert to_number(f"{numerator}/{denominator}") == numerator / denominator


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_every_float_survives_its_own_text(value):
    assert to_number(repr(value)) == value


@pytest.mark.parametrize(
    ("field", "given_", "meant"),
    [
        ("positive", "8/255", 8 / 255),
        ("positive", None, None),
        ("pair", ["0", "8/255"], (0.0, 8 / 255)),
        ("pair", ("0", "8/255"), (0.0, 8 / 255)),
        ("many", ["1e-3", 2], (0.001, 2.0)),
        ("many", ("1e-3",), (0.001,)),
        ("many", [], ()),
        ("table", [["1/2"], [], [1, "2"]], ((0.5,), (), (1.0, 2.0))),
        ("real_list", ["1/2", 3], [0.5, 3.0]),
        ("by_name", {"a": "1/2"}, {"a": 0.5}),
        ("either", {"a": "1/2"}, {"a": 0.5}),
        ("either", ["1/2"], (0.5,)),
        ("inner", {"rate": "1/4"}, Inner(rate=0.25)),
        ("inners", [{"rate": "1/4"}, {}], (Inner(rate=0.25), Inner())),
        ("word_or_real", "auto", "auto"),
        ("word_or_real", "8/255", 8 / 255),
    ],
)
def test_number_strings_are_read_wherever_a_float_is_meant(field, given_, meant):
    assert getattr(Part(**{field: given_}), field) == meant


@pytest.mark.parametrize("field", ["text", "text_or_real", "anything"])
def test_number_strings_stay_text_where_text_is_meant(field):
    assert getattr(Part(**{field: "8/255"}), field) == "8/255"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flag", "true"),
        ("flag", 1),
        ("whole", "3"),
        ("whole", 3.0),
        ("whole", True),
        ("whole", "8/4"),
        ("real", True),
        ("real", float("nan")),
        ("real", float("inf")),
        ("text", 3),
        ("positive", "0"),
        ("positive", "-1/2"),
        ("pair", [0]),
        ("pair", [0, 1, 2]),
        ("pair", "0"),
        ("pair", [0, float("inf")]),
        ("inner", {"rate": "fast"}),
        ("inner", "rate"),
        ("word_or_real", "automatic"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(field, value):
    with pytest.raises(ConfigError, match=field if field != "inner" else "Inner.rate|inner"):
        Part(**{field: value})


def test_the_message_shows_the_value():
    with pytest.raises(ConfigError, match=r"Part\.whole is 'three'"):
        Part(whole="three")


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no key 'positve'.*did you mean 'positive'\?"):
        Part(positve=1.0)
    with pytest.raises(ConfigError, match=r"Inner has no key 'rte'.*did you mean 'rate'\?"):
        Part(inner={"rte": 1.0})


@pytest.mark.parametrize("key", ["self", "cls", "model_config", "__class__", ""])
def test_no_key_slips_through_to_python(key):
    with pytest.raises(ConfigError, match="has no key"):
        Part.parse({key: 1})


def test_a_missing_key_is_named():
    class Needy(Config):
        eps: float

    with pytest.raises(ConfigError, match="lacks 'eps'"):
        Needy()


def test_nearest_says_all_known_names():
    assert nearest("pdg", ["pgd", "fgsm"]) == "did you mean 'pgd'? known: fgsm, pgd"
    assert nearest("xyzzy", ["pgd", "fgsm"]) == "known: fgsm, pgd"


@pytest.mark.parametrize("document", [None, [], "part", 3, [("real", 1)]])
def test_parse_wants_a_mapping(document):
    with pytest.raises(ConfigError, match="mapping"):
        Part.parse(document)


def test_frozen():
    part = Part()
    with pytest.raises(ValidationError):
        part.real = 1.0
    assert part.real == 0.0


def test_wrong_values_are_ours_by_every_way_in():
    for build in (
        lambda: Part.model_validate({"whole": "x"}),
        lambda: Part.model_validate_json('{"whole": "x"}'),
        lambda: Part.parse({"whole": "x"}),
        lambda: Part.from_yaml("whole: x"),
    ):
        with pytest.raises(ConfigError, match="whole"):
            build()


def test_round_trips():
    part = Part(real="8/255", many=["1e-3"], table=[[1], []], either={"a": 1}, inner={"rate": "1/3"}, inners=[{}], positive=2)
    assert Part.parse(part.model_dump()) == part
    assert Part.parse(part.model_dump(mode="json")) == part
    assert Part.parse(json.loads(part.model_dump_json())) == part
    assert Part.model_validate_json(part.model_dump_json()) == part


# YAML


def test_yaml_numbers_reach_their_fields():
    part = Part.from_yaml("{real: 8/255, positive: 1e-3, pair: [0, 1/2], inner: {rate: 1e-2}, text: 8/255}")
    assert (part.real, part.positive, part.pair, part.inner.rate, part.text) == (8 / 255, 0.001, (0.0, 0.5), 0.01, "8/255")


def test_yaml_from_a_file(tmp_path):
    path = tmp_path / "part.yaml"
    path.write_text("real: 8/255\n")
    assert Part.from_yaml(path) == Part(real=8 / 255)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: 1\n'a': 2",
        "outer: {a: 1, a: 1}",
        "- {a: 1, b: 2, a: 3}",
        "1: a\n1: b",
        "null: 1\nnull: 2",
    ],
)
def test_a_key_given_twice_is_refused(text):
    with pytest.raises(ConfigError, match="given twice"):
        load_yaml(text)


def test_the_same_key_in_two_mappings_is_fine():
    assert load_yaml("a: {k: 1}\nb: {k: 2}\nk: 3") == {"a": {"k": 1}, "b": {"k": 2}, "k": 3}


def test_merge_keys_may_be_overridden():
    text = "base: &base {k: 1, l: 2}\none: {<<: *base, k: 3}"
    assert load_yaml(text)["one"] == {"k": 3, "l": 2}
    deeper = "base: &base {k: 1}\nx: {b: &b {<<: *base, k: 2}}\nc: {<<: *b, l: 5}"
    assert load_yaml(deeper)["c"] == {"k": 2, "l": 5}
    assert load_yaml(deeper)["x"] == {"b": {"k": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.getcwd []",
        "!!python/name:os.system",
        "!!python/object/new:dict [{}]",
        "a: !!python/tuple [1, 2]",
        "a: !unknown 3",
    ],
)
def test_tags_that_build_objects_are_refused(text):
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(text)


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\t- a", "a: 2024-02-30", "a: 0b_", "? [a]\n: 1", "a: 1\n---\nb: 2", "a: \x00"]
)
def test_broken_yaml_is_refused(text):
    with pytest.raises(ConfigError, match="YAML"):
        load_yaml(text)


def test_bottomless_yaml_is_refused():
    with pytest.raises(ConfigError, match="too deeply"):
        load_yaml("[" * 20_000)


def test_an_unreadable_file_is_refused(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "absent.yaml", tmp_path, binary):
        with pytest.raises(ConfigError, match="can't be read"):
            load_yaml(path)


def test_empty_yaml_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="mapping"):
        Part.from_yaml("")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml is empty"):
        Part.from_yaml(tmp_path / "empty.yaml")


def test_keys_that_are_no_text_are_refused_at_any_depth():
    for text in ("{1: 2}", "{null: 2}", "{inner: {1: 2}}", "{inner: {2026-01-01: 2}}"):
        with pytest.raises(ConfigError, match=r"has no key|holds a key that is no text"):
            Part.from_yaml(text)


# what digests are taken of


def test_canonical_json_knows_no_order_and_no_nan():
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == canonical_json({"a": [1.5, "é"], "b": 1}) == '{"a":[1.5,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
