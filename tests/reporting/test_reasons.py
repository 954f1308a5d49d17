"""What stands at the top of a page, and on pages of several reports."""

import pytest

from martensite.evaluation.anytime import Decision
from martensite.evaluation.defence_record import DefenceRecord
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.report import Rate
from martensite.reporting import render_comparison, render_union
from martensite.reporting.commands import evaluate_command
from martensite.reporting.comparison import lead
from martensite.reporting.reasons import reasons

from . import samples
from .pages import EVIL, Document

INVALID = Diagnostic(name="flat_gradients", severity="invalid", evidence="gradients are zero", remedy="use another loss")


def shown(page):
    return Document(page).words.replace("\N{EN DASH}", "-")


def said(report):
    return {one.title: (one.mark, one.text) for one in reasons(report)}


def test_a_clean_report_is_sound_and_names_the_strongest_attack():
    found = said(samples.hardened())
    assert found["Self-checks"][0] == "SOUND"
    assert (
        found["Strongest attack"][1] == "Alone, pgd #1 left 83.9%, fgsm 88.3%. Sample by sample all attacks together left 83.9%."
    )
    assert "Weakest class" not in found


def test_a_warning_is_a_caution_and_a_weak_class_is_named():
    found = said(samples.rich())
    assert found["Self-checks"] == (
        "CAUTION",
        "The figures may be off: more steps gain. The suite got 2 of 2 canaries right: built-in models whose robust accuracy is "
        "known.",
    )
    assert found["Weakest class"][0] == "CAUTION"
    assert found["Weakest class"][1].startswith(
        "Class 8 keeps 30.0% of its 40 samples: it is weaker than the others beyond chance"
    )


def test_what_is_invalid_comes_first_and_nothing_is_sound():
    for report in (samples.rich(diagnostics=(INVALID,)), samples.rich(errors=("a candidate was refused",))):
        first = reasons(report)[0]
        assert first.mark == "INVALID"
        assert "SOUND" not in {one.mark for one in reasons(report)}


def test_a_decision_a_defence_and_queries_are_told():
    decision = Decision(at_least=0.6, verdict="PASS", alpha=0.025, samples=100, available=360)
    defence = DefenceRecord(names=("jpeg",), naive=Rate.of(300, 360), naive_attack="pgd", adaptive=())
    found = said(samples.hardened(decision=decision, defence=defence, access="scores"))
    assert found["At least 60.0% robust"][0] == "PASS"
    assert found["Defences"] == (
        "CAUTION",
        "Around the model stand: jpeg. Attackers who don't know of it left 83.3%. No attack was adapted to it, so nothing is "
        "known of those who do.",
    )
    assert "saw scores and no gradients" in found["Queries only"][1]


def test_the_command_is_the_one_that_was_given_or_one_that_does_the_same():
    given = "martensite evaluate models/a --data digits --eps 0.15"
    assert evaluate_command([samples.hardened(command=given)]) == given
    union = samples.union()
    assert evaluate_command(union.reports).startswith(
        "martensite evaluate MODEL --data digits --threat linf:0.15 --threat l2:1.0"
    )
    assert "--data 'a b;c'" in evaluate_command([samples.hardened(data=samples.data("test", 360, name="a b;c"))])


def test_the_page_of_several_threat_models_counts_what_each_takes():
    reports = [
        samples.hardened(outcomes=("broken",) * 3 + ("robust",) * 357),
        samples.hardened(
            outcomes=("robust",) * 2 + ("broken",) * 4 + ("robust",) * 354, threat=samples.ThreatModel(norm="l2", eps=1.0)
        ),
    ]
    words = shown(render_union(samples.join(reports)))
    assert "98.3% An adversary who may choose among 2 threat models for each sample left 354 of 360" in words
    assert "L∞, eps 0.15 83.9% 79.7-87.5% 3 0 2" in words
    assert "L2, eps 1 83.9% 79.7-87.5% 4 0 3" in words


def test_the_page_of_a_comparison_says_who_leads_and_whether_by_chance():
    report = samples.comparison()
    assert lead(report) == (
        "hardened kept 83.9% under attack and 97.8% without; next is half-hardened with 55.6% and 94.4%. Their difference in "
        "robust accuracy, 28.3 points, is more than chance (p\N{NO-BREAK SPACE}<0.001)."
    )
    words = shown(render_comparison(report))
    assert "hardened 97.8% 95.7-99.0% 83.9% 79.7-87.5% on it 90.5" in words
    assert "half-hardened 94.4% 91.6-96.6% 55.6% 50.3-60.8% - 120" in words


@pytest.mark.parametrize("changes", [{"diagnostics": (INVALID,)}, {"errors": ("a candidate was refused",)}])
def test_a_comparison_says_whose_figures_decide_nothing(changes):
    assert "INVALID hardened" in Document(render_comparison(samples.comparison(**changes))).words


def test_names_from_outside_stay_text_on_every_page():
    named = samples.compare({EVIL: samples.baseline(), "b": samples.rich(command=f"martensite {EVIL}")})
    document = Document(render_comparison(named))
    assert {found.get("type") for tag, found in document.elements if tag == "script"} == {"application/json"}
    assert not [found for tag, found in document.elements if tag == "img"]
    data = samples.data("test", 360, name=EVIL)
    document = Document(render_union(samples.union(data=data)))
    assert {found.get("type") for tag, found in document.elements if tag == "script"} == {"application/json"}
