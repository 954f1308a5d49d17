"""Reports of older versions are read, saved and compared: ``older/`` holds what those versions wrote."""

import json
from pathlib import Path

import pytest

from martensite.core.errors import ArtifactError
from martensite.evaluation import RobustnessReport, Suite, compare, evaluate
from martensite.gates import Thresholds
from martensite.reporting import render_robustness

OLDER = sorted((Path(__file__).parent / "older").glob("*.json"))


def kept(was, now, except_for=""):
    """Whether all that was written is there still; only keys may have been added."""
    if isinstance(was, dict):
        return all(key in now and kept(value, now[key]) for key, value in was.items() if key != except_for)
    if isinstance(was, list):
        return len(was) == len(now) and all(map(kept, was, now))
    return was == now


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_an_older_report_says_what_it_said(path, tmp_path):
    written = json.loads(path.read_text())
    assert written["schema_version"] == 1
    report = RobustnessReport.load(path)
    assert report.schema_version == 2
    now = json.loads(report.model_dump_json())
    assert kept(written, now, except_for="schema_version")
    assert report.suite_digest is None
    assert report.transfer is report.corruption is report.clever is report.variation is None
    report.save(tmp_path / "again.json")
    assert RobustnessReport.load(tmp_path / "again.json") == report


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_an_older_report_is_judged_and_shown(path):
    report = RobustnessReport.load(path)
    Thresholds(min_clean_accuracy=0.01, max_robust_drop=0.5).judge(report, report)
    assert compare({"one": report, "again": report}).pairs[0].robust.value == 0
    assert f"{report.robust_accuracy.value:.1%}" in render_robustness(report)


def test_a_report_of_a_later_version_is_refused_by_name(linear, data, threat, tmp_path):
    report = evaluate(linear, data, threat, Suite(name="one", attacks=({"kind": "fgsm"},)))
    document = {**json.loads(report.model_dump_json()), "schema_version": 3, "novelty": 1}
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="schema version 3"):
        RobustnessReport.load(tmp_path / "r.json")
