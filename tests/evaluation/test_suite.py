"""Suites: the shipped ones, a file of one's own, and what is refused."""

import math
from importlib.resources import files
from pathlib import Path

import pytest

from martensite.attacks import FGSM, PGD
from martensite.core.errors import ConfigError
from martensite.evaluation import Suite, load_suite

SHIPPED = sorted(Path(entry.name).stem for entry in files("martensite.evaluation").joinpath("suites").iterdir())


def test_some_are_shipped():
    assert {"quick", "standard"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ones_load_and_rebuild(name):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.attacks
    assert Suite.parse(suite.model_dump(mode="json")) == suite
    assert Suite.model_validate_json(suite.model_dump_json()) == suite


def test_a_suite_is_taken_as_it_is():
    suite = Suite(name="own", attacks=(PGD(steps=3),))
    assert load_suite(suite) is suite


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file(suffix, kind, tmp_path):
    path = tmp_path / f"own{suffix}"
    path.write_text("name: own\nattacks: [fgsm, {kind: pgd, steps: 3}]\ncurve: [1/2]\ncurve_attack: fgsm\n")
    suite = Suite(name="own", attacks=(FGSM(), PGD(steps=3)), curve=(0.5,), curve_attack=FGSM())
    assert load_suite(kind(path)) == suite


@pytest.mark.parametrize(("name", "near"), [("standart", "standard"), ("Quick", "quick"), ("quik", "quick")])
def test_an_unknown_name_brings_the_nearest(name, near):
    with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
        load_suite(name)


@pytest.mark.parametrize("name", ["", "nothing/like/it", "own.json"])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(ConfigError, match=r"known: .*quick.*standard.*YAML file"):
        load_suite(name)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name: own\nattacks: []\n", "no attacks"),
        ("name: own\n", "attacks"),
        ("attacks: [fgsm]\n", "name"),
        ("name: own\nattacks: [gpd]\n", "did you mean 'pgd'"),
        ("name: own\nattacks: [{kind: pgd, step: 3}]\n", "did you mean 'steps'"),
        ("name: own\nattack: [fgsm]\n", "did you mean 'attacks'"),
        ("name: own\nattacks: [fgsm]\ncurve: [0.5]\n", "curve_attack"),
        ("name: own\nattacks: [fgsm]\ncurve: [-0.5]\ncurve_attack: fgsm\n", "not negative"),
        ("name: own\nattacks: [fgsm]\ncurve: [.nan]\ncurve_attack: fgsm\n", "curve"),
        ("- fgsm\n", "mapping"),
        ("", "mapping"),
        ("name: [own\n", "YAML"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(text, match, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_suite(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        load_suite(tmp_path / "own.yaml")


@pytest.mark.parametrize("wrong", [{"attacks": ()}, {"curve": (-1.0,)}, {"curve": (0.5,)}, {"curve": (math.inf,)}])
def test_in_python_too(wrong):
    with pytest.raises(ConfigError):
        Suite(**{"name": "own", "attacks": (FGSM(),), **wrong})
