"""martensite evaluate and compare: plans, early decisions, several models side by side."""

import json

import pytest
from sklearn.linear_model import LogisticRegression

from martensite.data import load_data
from martensite.evaluation import samples_for


def test_evaluate_stops_when_it_is_sure(here, call_json, call):
    words = ("evaluate", "baseline", "--data", "data.npz", "--eps", 0.001, "--suite", "quick")
    passed = call_json(*words, "--at-least", 0.5)
    assert (passed.code, passed.document["decision"]["verdict"]) == (0, "PASS")
    unsure = call_json(*words, "--at-least", 0.9999)
    assert (unsure.code, unsure.document["decision"]["samples"]) == (3, 90)
    result = call(*words, "--half-width", 0.05)
    assert f"need {samples_for(0.05)} samples, and there are 90" in result.out + result.err
    assert call_json(*words, "--half-width", 0.2).document["data"]["n"] == samples_for(0.2) < 90
    assert call(*words, "--half-width", 0.2, "--samples", 3).code == 2


def test_compare(here, call, call_json):
    for name in ("baseline", "hard"):
        assert call("evaluate", name, "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--out", f"r/{name}").code == 0
    result = call_json("compare", "r/baseline", "r/hard/report.json", "--out", "c")
    assert result.code == 0
    assert result.document["names"] == ["baseline", "hard"]
    assert json.loads((here / "c/report.json").read_text()) == result.document
    pair = result.document["pairs"][0]
    assert pair["robust"]["value"] == pytest.approx(
        result.document["reports"][0]["robust_accuracy"]["value"] - result.document["reports"][1]["robust_accuracy"]["value"]
    )
    page = (here / "c/report.html").read_text()
    assert "baseline against hard" in page
    assert "<svg" in page
    assert "McNemar" in call("compare", "r/baseline", "r/hard").out
    assert call("compare", "r/baseline").code == 2


def test_evaluate_a_model_that_only_answers(here, call, call_json):
    io = pytest.importorskip("skops.io")
    data = load_data("data.npz")
    io.dump(LogisticRegression(max_iter=500).fit(data.x.flatten(1).numpy(), data.y.numpy()), here / "m.skops")
    result = call_json("evaluate", "m.skops", "--data", "data.npz", "--eps", 0.1, "--suite", "quick", "--store", "kept")
    assert result.code == 0
    assert result.document["access"] == "scores"
    assert [row["name"] for row in result.document["attacks"]] == ["square", "hopskipjump"]
    assert call("evaluate", "m.skops", "--data", "data.npz", "--eps", 0.1, "--weights", "w.safetensors").code == 2
    assert call("evaluate", "http://127.0.0.1:9/v2/models/m", "--data", "data.npz", "--eps", 0.1).code == 2
    assert call("evaluate", "nowhere.onnx", "--data", "data.npz", "--eps", 0.1).code == 2


def test_report_for_ci(here, call):
    words = ("evaluate", "hard", "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--out", "r")
    assert call(*words).code == 0
    assert call("report", "r", "--markdown", "m.md", "--junit", "j.xml").code == 0
    assert (here / "m.md").read_text().startswith("### Robust accuracy")
    assert (here / "j.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize("what", ["report", "union", "comparison", "certification", "run", "verdict"])
def test_schema(what, here, call):
    schema = json.loads(call("schema", what).out)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["properties"]["schema_version"]["const"] == (2 if what == "report" else 1)
    assert schema["additionalProperties"] is False


def test_a_report_is_what_its_schema_says(here, call, call_json):
    jsonschema = pytest.importorskip("jsonschema")
    report = call_json("evaluate", "hard", "--data", "data.npz", "--eps", 0.05, "--suite", "quick").document
    schema = json.loads(call("schema", "report").out)
    jsonschema.validate(report, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**report, "outcomes": ["unbreakable"]}, schema)
    assert call("schema", "reprot").code == 2


def test_a_leaderboard_of_a_folder(here, call, call_json):
    for name in ("baseline", "hard"):
        assert call("evaluate", name, "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--out", f"all/{name}").code == 0
    (here / "all/other").mkdir()
    (here / "all/other/report.json").write_text("{}")
    assert call_json("report", "--index", "all").document["reports"] == ["baseline", "hard"]
    assert "hard" in (here / "all/index.html").read_text()
    assert call("report").code == 2
    assert call("report", "all/hard", "--index", "all").code == 2
    assert call("report", "--index", "all/other").code == 2
