"""The page as a document: whole, self-contained, safe, and saying what the report says."""

import json
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
import yaml

from martensite.evaluation.report import Check, Rate, RobustnessReport, RunReport, Verdict
from martensite.reporting import render_robustness, render_run

from . import samples
from .pages import EVIL, PAGES, Document
from .pages import page as whole_page

MIB = 1024 * 1024


def page(**changes: Any) -> Document:
    return Document(render_run(samples.run(**changes), samples.pairs()))


def test_the_page_is_one_small_file_that_loads_nothing() -> None:
    text = render_run(samples.run(), samples.pairs(12))
    document = Document(text)
    assert len(text.encode()) < MIB
    assert all(source.startswith("data:") for source in document.attributes("src"))
    assert all(target.startswith(("#", "data:")) for target in document.attributes("href"))
    assert not re.search(r"url\(|@import|https?://|srcset|<iframe|<object", text)
    policy = next(found["content"] for tag, found in document.elements if "Content-Security-Policy" in found.values())
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("name", PAGES)
def test_no_element_runs_a_script(name: str) -> None:
    document = Document(whole_page(name))
    assert {found["type"] for tag, found in document.elements if tag == "script"} <= {"application/json"}
    assert not [name for _, found in document.elements for name in found if name.startswith("on")]


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique_and_references_resolve(name: str) -> None:
    document = Document(whole_page(name))
    ids = list(document.attributes("id"))
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in document.attributes("href") if target.startswith("#")} <= set(ids)
    assert set(document.attributes("aria-labelledby")) <= set(ids)


def test_the_embedded_report_reloads_into_an_equal_one() -> None:
    run = samples.run(name=f"digits {EVIL} \u2028")
    document = Document(render_run(run))
    assert RunReport.model_validate_json(document.scripts[0]) == run
    single = samples.hardened()
    assert RobustnessReport.model_validate_json(Document(render_robustness(single)).scripts[0]) == single


def test_a_report_too_large_to_embed_is_embedded_without_its_samples() -> None:
    n = 60_000
    many = samples.rich(outcomes=("robust",) * n, broken_by=("pgd",) * n, distances=(0.123456789,) * n)
    run = samples.rich_run(hardened=many, baseline=many)
    text = render_run(run, samples.pairs(12))
    assert len(text.encode()) < 2 * MIB
    assert "without the outcomes of single samples" in Document(text).words
    found = RunReport.model_validate_json(Document(text).scripts[0])
    assert found.hardened.outcomes == found.hardened.broken_by == found.hardened.distances == found.certification.radius == ()
    assert found.hardened.classes == many.classes
    assert found.hardened.robust_accuracy == many.robust_accuracy
    assert found.verdict == run.verdict


def test_a_report_too_large_even_so_is_left_in_its_file() -> None:
    row = samples.rich().classes[0]
    many = samples.rich(classes=tuple(row.model_copy(update={"name": f"{place} {'x' * 300}"}) for place in range(5000)))
    text = render_robustness(many)
    assert len(text.encode()) < MIB
    assert "martensite-report" not in text
    assert "too large to embed" in text
    assert "The weakest 40 of 5000 classes" in Document(text).words


def test_the_figures_appear() -> None:
    words = page().words
    for expected in (
        "digits PASS",
        "All 4 requirements are met.",
        "302 of 360 samples correctly: 83.9%, with a 95% interval from 79.7% to 87.5%. The baseline kept 0.8%.",
        "change every input value by at most 0.15, which is 15.0% of the valid range",
        "Clean accuracy is 97.8% [95.7%, 99.0%] on 360 samples",
        "Hardening changed it by +83.1 points",
        "steps 50, restarts 2, loss ce",
        "At least half of all samples are certified up to a radius of",
        "sigma 0.15, n 1000, selection 100, alpha 0.001",
        "it holds with probability at least 0.999",
        "Radii are L2 distances; the threat model is L∞.",
        "so it is an upper bound",
        "198,450",
        "martensite run digits.yaml --out runs/digits",
        "The seed, 0, is in the file.",
        samples.digest("c"),
        samples.digest("d"),
        "2.13.0+cpu",
        "1 min 08 s in all",
    ):
        assert expected in words, expected


@pytest.mark.parametrize("name", PAGES)
def test_headings_are_in_order(name: str) -> None:
    levels = [int(tag[1]) for tag, _ in Document(whole_page(name)).elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(new - old <= 1 for old, new in pairwise(levels))


def test_the_pipeline_on_the_page_is_the_one_that_ran() -> None:
    run = samples.run()
    shown = re.search(r"<pre[^>]*configuration[^>]*>(.*?)</pre>", render_run(run), re.DOTALL)
    assert shown is not None
    assert yaml.safe_load(shown[1].replace("&#39;", "'").replace("&#34;", '"')) == run.pipeline


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("PASS", "All 4 requirements are met."),
        ("FAIL", "1 of 4 requirements are not met."),
        ("INCONCLUSIVE", "1 of 4 requirements are undecided"),
    ],
)
def test_the_verdict_is_told_in_words(word: str, sentence: str) -> None:
    document = page(verdict=samples.verdict(word))
    assert f"digits {word}" in document.words
    assert sentence in document.words


def test_a_verdict_with_one_requirement() -> None:
    only = Verdict(verdict="FAIL", checks=(Check(name="min_clean_accuracy", verdict="FAIL", reason="too low"),))
    assert "1 of 1 requirement is not met." in page(verdict=only).words


def test_nothing_certified_means_no_curve_and_says_so() -> None:
    document = page(certification=samples.no_certification())
    assert "No sample was certified at a radius above zero" in document.words
    assert [found["aria-label"] for _, found in document.elements if found.get("role") == "img"][1:] == []


def test_a_report_of_table_data_has_no_gallery() -> None:
    run = samples.run(data=(samples.data("train", 1077, shape=(57,)),))
    text = render_run(run, samples.pairs(3, clean=_row(), adversarial=_row()))
    assert "<img" not in text
    assert 'id="gallery"' not in text


def test_a_suite_without_curve_has_no_curve_section() -> None:
    document = Document(render_robustness(samples.hardened(curve=())))
    assert "Security curve" not in document.words


def test_other_samples_are_not_paired() -> None:
    document = page(baseline=samples.baseline(data=samples.data("validation", samples.N)))
    assert "paired by sample" not in document.words


def test_attack_errors_and_warnings_are_shown() -> None:
    row = samples.hardened().attacks[0].model_copy(update={"errors": 7})
    report = samples.hardened(attacks=(row,), warnings=("logits were NaN on 7 samples",))
    words = Document(render_robustness(report)).words
    assert "7 could not be run" in words
    assert "logits were NaN on 7 samples" in words


def test_a_warning_of_both_models_is_shown_once() -> None:
    both = ("loss saturates",)
    words = page(baseline=samples.baseline(warnings=both), hardened=samples.hardened(warnings=both)).words
    assert words.count("loss saturates (Baseline, Hardened)") == 1
    assert words.count("loss saturates") == 1


def test_an_attack_that_one_report_lacks_is_not_a_zero() -> None:
    words = page(baseline=samples.baseline(attacks=samples.baseline().attacks[:2])).words
    assert "not run" in words


def test_one_model_without_a_gate() -> None:
    words = Document(render_robustness(samples.hardened(), samples.pairs(2, model=""))).words
    assert "no gate has judged it" in words
    assert "martensite evaluate MODEL --data digits --norm linf --eps 0.15 --split test --suite standard --seed 0" in words


def test_names_from_outside_are_text_and_nothing_else() -> None:
    attack = samples.hardened().attacks[0].model_copy(update={"name": EVIL, "attack": {"kind": EVIL, EVIL: EVIL}})
    data = samples.data("test", samples.N, name=EVIL)
    evil = samples.hardened(attacks=(attack,), warnings=(EVIL,), suite=EVIL, data=data, model_digest=EVIL)
    checks = (Check(name=EVIL, verdict="FAIL", reason=EVIL),)
    run = samples.run(
        name=EVIL,
        hardened=evil,
        data=(data,),
        bundle=EVIL,
        pipeline={EVIL: EVIL},
        verdict=Verdict(verdict="FAIL", checks=checks),
        certification=samples.certification(norm=EVIL, method={"kind": EVIL, EVIL: EVIL}, data=data),
        timing={EVIL: 1.0},
        environment=samples.HERE.model_copy(update={"martensite": EVIL, "platform": EVIL}),
    )
    pairs = samples.pairs(2, label=EVIL, clean_prediction=EVIL, adversarial_prediction=EVIL, attack=EVIL, model=EVIL)
    for text in (render_run(run, pairs), render_robustness(evil, pairs)):
        document = Document(text)
        assert [tag for tag, _ in document.elements].count("script") == 1
        assert all("onerror" not in found for _, found in document.elements)
        assert all(source.startswith("data:") for source in document.attributes("src"))
        assert "alert(1)" in document.words
        assert "{{ 7 * 7 }}" in document.words
        assert json.loads(document.scripts[0])


def test_the_command_is_safe_to_paste() -> None:
    words = page(name="my run; rm -rf ~").words
    assert "martensite run my-run-rm--rf.yaml --out runs/my-run-rm--rf" in words
    quoted = samples.hardened(data=samples.data("test", samples.N, name="my data; ls.csv"))
    assert "--data 'my data; ls.csv'" in Document(render_robustness(quoted)).words


def test_colours_of_text_are_readable_in_both_themes() -> None:
    css = render_run(samples.run())
    colours = {name: pair for name, *pair in re.findall(r"--([a-z]+): light-dark\((#\w+), (#\w+)\)", css)}
    for name in ("ink", "muted", "baseline", "hardened", "pass", "fail", "inconclusive"):
        for theme in (0, 1):
            for ground in ("paper", "panel"):
                assert _contrast(colours[name][theme], colours[ground][theme]) >= 4.5, (name, ground, theme)


def test_rates_near_the_ends_are_not_rounded_to_them() -> None:
    most = samples.hardened(clean_accuracy=Rate.of(9_999, 10_000), robust_accuracy=Rate.of(1, 10_000))
    words = Document(render_robustness(most)).words
    assert ">99.9%" in words
    assert "<0.1%" in words


def _row() -> torch.Tensor:
    return torch.zeros(57)


def _contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
