"""Report files: whole or refused, strict, and independent of the machine but for timing."""

import json

import pytest
import torch

from martensite.attacks import FGSM
from martensite.core.errors import ArtifactError, ConfigError, StorageError
from martensite.evaluation import Rate, RobustnessReport, Suite, Verdict, evaluate
from martensite.evaluation.report import Check, CurvePoint


@pytest.fixture
def report(linear, data, threat):
    return evaluate(linear, data, threat, Suite(name="test", attacks=(FGSM(),)))


@pytest.fixture
def path(report, tmp_path):
    report.save(tmp_path / "report.json")
    return tmp_path / "report.json"


def test_it_is_json_that_says_what_was_measured(report, path, data, threat):
    document = json.loads(path.read_text())
    assert document["schema_version"] == 2
    assert document["data"]["digest"] == data.digest
    assert document["threat"] == {"norm": "linf", "eps": threat.eps, "box": [0.0, 1.0], "goal": "untargeted", "constraints": None}
    assert document["seed"] == 0
    assert document["environment"]["torch"] == torch.__version__
    assert document["model_digest"].startswith("sha256:")
    assert set(document["timing"]) == {"total", "clean", "fgsm"}


def test_saved_again_it_is_the_same_file(report, path, tmp_path):
    RobustnessReport.load(path).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_truncated_report_is_refused_wherever_it_ends(path):
    content = path.read_bytes().rstrip()
    for length in (0, 1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match="truncated"):
            RobustnessReport.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 3},
        {"suite": None},
        {"seed": "0"},
        {"extra": 1},
        {"outcomes": ["unbroken"]},
        {"clean_accuracy": 0.9},
        {"timing": {"total": "long"}},
    ],
)
def test_another_document_is_refused(change, path):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match="is no RobustnessReport"):
        RobustnessReport.load(path)


def test_a_missing_key_another_report_or_none_is_refused(path, tmp_path):
    document = json.loads(path.read_text())
    del document["suite"]
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="suite"):
        RobustnessReport.load(path)
    Verdict(verdict="PASS", checks=()).save(tmp_path / "verdict.json")
    for other in (tmp_path / "verdict.json", tmp_path, tmp_path / "none.json"):
        with pytest.raises(ArtifactError):
            RobustnessReport.load(other)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00{}")
    with pytest.raises(ArtifactError):
        RobustnessReport.load(tmp_path / "binary.json")


def test_a_report_that_cannot_be_written_leaves_the_old_one(report, path):
    content = path.read_bytes()
    with pytest.raises(StorageError):
        report.save(path / "within")
    assert path.read_bytes() == content


def test_a_report_cannot_be_changed(report):
    with pytest.raises(ValueError, match="frozen"):
        report.seed = 1


def test_no_figure_is_nan():
    with pytest.raises(ConfigError):
        CurvePoint(eps=float("nan"), accuracy=Rate.of(1, 2))


def test_the_exit_code_follows_the_verdict():
    check = Check(name="min_clean_accuracy", verdict="PASS", reason="because")
    codes = {verdict: Verdict(verdict=verdict, checks=(check,)).exit_code for verdict in ("PASS", "FAIL", "INCONCLUSIVE")}
    assert codes == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


def test_a_rate_reads_well():
    assert str(Rate.of(45, 50)) == "90.0% [78.2%, 96.7%]"
