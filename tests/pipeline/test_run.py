"""A whole run: what it leaves, that a seed decides it, and what it refuses before it works."""

import json
import re

import numpy as np
import pytest

from martensite.artifacts import load_bundle, read_manifest, save_bundle
from martensite.core.errors import ConfigError, DataError, ModelError, ThreatError
from martensite.evaluation import RunReport
from martensite.models import build
from martensite.models.digest import model_digest
from martensite.pipeline import Pipeline, render, run
from martensite.pipeline.stages import STAGES


def test_what_a_run_leaves(reference, litter):
    plan, out, report, _ = reference
    assert {path.name for path in out.iterdir()} == {"run.json", ".lock", "stages", "model", "report.json", "report.html"}
    assert [path.name[3:] for path in sorted((out / "stages").iterdir())] == list(STAGES)
    assert not litter(out)
    assert RunReport.load(out / "report.json") == report
    assert report.name == "tiny"
    assert report.seed == 3
    assert Pipeline.parse(report.pipeline) == plan


def test_the_reports_agree_with_each_other(reference):
    plan, out, report, _ = reference
    assert [part.split for part in report.data] == ["train", "validation", "test"]
    assert report.baseline.data == report.hardened.data == report.data[2]
    assert report.data[2].n == 18
    assert report.threat == report.hardened.threat == plan.threat
    assert [row.name for row in report.hardened.attacks] == ["fgsm", "pgd"]
    assert [point.eps for point in report.hardened.curve] == [0.0, 0.05, 0.1]
    assert report.certification.data.n == 4
    assert report.baseline_training.epochs == report.hardened_training.epochs == 3
    assert report.verdict.verdict == "PASS"
    assert set(report.timing) == {path.name for path in (out / "stages").iterdir() if "report" not in path.name}


def test_the_bundle_is_the_hardened_model(reference):
    plan, out, report, _ = reference
    model = load_bundle(out / "model")
    assert report.bundle == model_digest(model) == report.hardened.model_digest
    assert report.baseline.model_digest != report.bundle
    assert read_manifest(out / "model").threat == plan.threat
    assert read_manifest(out / "model").class_names == ("0", "1", "2")


def test_the_page_is_self_contained(reference):
    _, out, _, _ = reference
    page = (out / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


def test_the_same_seed_gives_the_same_report(reference, figures, tmp_path):
    plan, out, report, _ = reference
    again = run(plan, tmp_path / "again")
    assert figures(again) == figures(report)
    ours = json.loads((tmp_path / "again" / "report.json").read_text())
    theirs = json.loads((out / "report.json").read_text())
    assert list(ours) == list(theirs)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / "model" / name).read_bytes() == (out / "model" / name).read_bytes()


def test_another_seed_gives_another_report(reference, figures, tmp_path):
    plan, _, report, _ = reference
    other = run(plan.model_copy(update={"seed": 4}), tmp_path / "other")
    assert other.bundle != report.bundle
    assert figures(other) != figures(report)
    assert other.data == report.data


def test_a_finished_run_is_done_at_once(reference, figures):
    plan, out, report, _ = reference
    before = {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*")}
    seen = []
    again = run(plan, out, listener=seen.append)
    assert again == report
    assert {event.message for event in seen} == {"finished earlier"}
    assert {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*")} == before


def test_every_stage_tells_its_beginning_and_end(plan, tmp_path):
    seen = []
    run(plan, tmp_path / "out", listener=seen.append)
    begun = [event.stage for event in seen if event.message.startswith("stage ")]
    assert begun == [event.stage for event in seen if event.message == "done"] == list(STAGES)
    losses = [event.metrics for event in seen if event.unit == "epoch" and event.stage == "harden"]
    assert len(losses) == 3
    assert {"loss", "clean", "robust"} <= set(losses[-1])


def test_two_runs_in_one_process_each_read_their_data(plan, data, images, tmp_path):
    """A data file that changed between two runs is read again."""
    first = run(plan, tmp_path / "first")
    x, y = images(seed=1)
    np.savez(data, x=x, y=y)
    assert run(plan, tmp_path / "second").data != first.data


# What is refused before any training


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"threat": {"norm": "l2", "eps": 100}}, ThreatError, "no two inputs are further apart than 6"),
        ({"threat": {"norm": "l2", "eps": 0.5}}, ThreatError, "fgsm does not support l2"),
        ({"threat": {"norm": "linf", "eps": 8, "box": [0, 255]}}, ThreatError, "units of the data as it is loaded"),
        ({"threat": {"norm": "linf", "eps": 0.1, "goal": "targeted"}}, ThreatError, "targeted"),
        ({"model": {"kind": "resnet18", "width": 2}}, ModelError, "sides of at least 8"),
        ({"mean": [0.1, 0.2, 0.3, 0.4], "std": [1, 1, 1, 1]}, ModelError, "can't take an input of shape"),
        ({"std": [-1]}, ModelError, "std positive"),
        ({"certify": {"method": {"kind": "smoothing", "sigma": 0.2, "n": 3}}}, ConfigError, "give n of at least"),
        ({"data": {"source": "nowhere.npz"}}, DataError, "nowhere.npz doesn't exist"),
        ({"data": {"source": "digist"}}, DataError, "did you mean 'digits'"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_work_fails_at_once(changes, error, expected, plan, tmp_path):
    seen = []
    with pytest.raises(error, match=f"(?s){expected}"):
        run(Pipeline.parse(plan.model_dump(mode="json") | changes), tmp_path / "out", listener=seen.append)
    assert {event.stage for event in seen} == {"data"}
    assert not (tmp_path / "out" / "stages" / "02-train").exists()


def break_data(x, y, how):
    if how == "normalised":
        return (x - 0.5) / 0.25, y
    if how == "labels":
        return x, y - 1
    if how == "one class short":
        return x, np.where(y == 2, 5, y)
    x = x.copy()
    x[3, 0, 2, 2] = {"nan": np.nan, "inf": np.inf}[how]
    return x, y


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("normalised", "outside the box.*normalise inside"),
        ("nan", "NaN or infinity in 1 of 120"),
        ("inf", "NaN or infinity in 1 of 120"),
        ("labels", "labels range over -1..1"),
        ("one class short", r"classes \[2, 3, 4\] have no training sample"),
    ],
)
def test_bad_data_fails_at_once(how, expected, plan, data, images, tmp_path):
    x, y = break_data(*images(), how)
    np.savez(data, x=x, y=y)
    with pytest.raises(DataError, match=f"(?s){expected}"):
        run(plan, tmp_path / "out")
    assert not list((tmp_path / "out").glob("stages/*"))


def test_the_mistake_can_be_mended_and_the_run_goes_on(plan, data, images, tmp_path, reference, figures):
    good = data.read_bytes()
    data.write_bytes(good[:300])
    with pytest.raises(DataError, match="truncated"):
        run(plan, tmp_path / "out")
    data.write_bytes(good)
    assert run(plan, tmp_path / "out").bundle == reference[2].bundle


# Rendering afterwards


def test_a_page_can_be_made_again(reference):
    _, out, report, _ = reference
    assert render(report, out) == (out / "report.html").read_text()


def test_a_page_can_be_made_where_the_data_is_not(reference, data, plan, tmp_path):
    """On an auditor's machine, say; where not even the run is, there are no pictures."""
    report = run(plan, tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    data.unlink()
    assert render(report, tmp_path / "out") == page
    assert 'id="examples"' in page
    assert 'id="examples"' not in render(report, tmp_path)


def test_the_page_has_adversarials_of_both_models_and_what_passes_between_them(reference):
    _, out, report, _ = reference
    page = (out / "report.html").read_text()
    assert report.transfer.names == ("baseline", "hardened")
    assert "judged on hardened" in page
    broken = [min(6, one.outcomes.count("broken")) for one in (report.baseline, report.hardened)]
    assert page.count('alt="Sample') == 3 * sum(broken) > 0


def test_a_model_of_the_run_can_be_saved_elsewhere(reference, tmp_path):
    save_bundle(load_bundle(reference[1] / "model"), tmp_path / "copy")
    assert model_digest(load_bundle(tmp_path / "copy")) == reference[2].bundle


def test_an_untrained_model_is_what_the_seed_says(plan):
    assert model_digest(build(plan.model, (1, 6, 6), 3, seed=3)) != model_digest(build(plan.model, (1, 6, 6), 3, seed=4))
