"""Markdown and JUnit: what they say, and what names from outside can't do to them."""

from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import pytest

from martensite.evaluation.canary import Canary
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.report import DataRecord, Verdict
from martensite.reporting import junit_xml, markdown_summary

FOUND = Diagnostic(name="flat_gradients", severity="invalid", evidence="all <b>zero</b> | really", remedy="use another loss")
SUNG = (
    Canary(name="linear", expected=10, found=10, n=20, passed=True),
    Canary(name="masked", expected=10, found=20, n=20, passed=False),
)


@pytest.fixture(scope="module")
def samples():
    spec = spec_from_file_location("reporting_samples", Path(__file__).with_name("samples.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_markdown_has_every_figure_once(samples):
    text = markdown_summary(samples.hardened())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 1 + 3 + 1
    assert "83.9%" in lines[-1]
    assert "INCONCLUSIVE" not in text


def test_what_is_invalid_stands_first_in_markdown(samples):
    text = markdown_summary(samples.hardened(diagnostics=(FOUND,)))
    assert text.index("**INCONCLUSIVE**") < text.index("| attack |")
    assert "<b>" not in text.replace("\\<b\\>", "")


def test_names_from_outside_break_no_markdown(samples):
    name = "x|y\n# head [a](b) `c`"
    report = samples.hardened(data=samples.data("test", samples.N, name=name))
    first = markdown_summary(report).splitlines()[0]
    assert r"x\|y \# head \[a\](b) \`c\`" in first


@dataclass
class Case:
    word: str | None
    text: str


def cases(xml):
    suite = ElementTree.fromstring(xml)
    found = {}
    for case in suite:
        found[case.get("name")] = Case(next((part.tag for part in case if part.tag in ("failure", "error")), None), "")
    assert int(suite.get("tests")) == len(list(suite))
    assert int(suite.get("failures")) == sum(case.word == "failure" for case in found.values())
    assert int(suite.get("errors")) == sum(case.word == "error" for case in found.values())
    return {name: case.word for name, case in found.items()}


def test_junit_is_green_only_if_all_is_well(samples):
    assert set(cases(junit_xml(samples.hardened())).values()) == {None}
    found = cases(junit_xml(samples.hardened(diagnostics=(FOUND,), canaries=SUNG)))
    assert found == {"measured": None, "canary linear": None, "canary masked": "error", "flat_gradients": "error"}


@pytest.mark.parametrize(("word", "tag"), [("PASS", None), ("FAIL", "failure"), ("INCONCLUSIVE", "error")])
def test_junit_has_the_gate(word, tag, samples):
    verdict: Verdict = samples.verdict(word)
    assert cases(junit_xml(samples.hardened(), verdict))["min_robust_accuracy"] == tag


def test_junit_holds_any_text(samples):
    record: DataRecord = samples.data("test", samples.N, name='a<b>&"\x00\x1b')
    suite = ElementTree.fromstring(junit_xml(samples.hardened(data=record)))
    assert suite.get("name").startswith('martensite a<b>&"')


def test_a_comparison_is_green_unless_a_model_is_less_robust_than_the_first(samples):
    better = {"old": samples.baseline(), "new": samples.hardened()}
    assert set(cases(junit_xml(samples.compare(better))).values()) == {None}
    worse = samples.compare(dict(reversed(better.items())))
    assert cases(junit_xml(worse)) == {"new: measured": None, "old: measured": None, "old: no less robust than new": "failure"}


def test_markdown_of_a_comparison_has_models_and_pairs(samples):
    text = markdown_summary(samples.comparison())
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [len(table) - 2 for table in tables] == [3, 3]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert "| hardened | 97.8% | 83.9% | 79.7\N{EN DASH}87.5% |" in tables[0]
    assert "corrected for 3 pairs" in text


def test_summaries_of_several_threat_models_have_each_of_them(samples):
    union = samples.union()
    text = markdown_summary(union)
    assert text.startswith("### 83.9% robust to all of 3 threat models")
    assert text.count("#### Robust accuracy") == 3
    assert sum(name.endswith(": measured") for name in cases(junit_xml(union))) == 3
