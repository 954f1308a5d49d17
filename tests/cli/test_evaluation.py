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


def test_compare(here, call, call_json, monkeypatch):
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
    monkeypatch.chdir(here / "r/hard")
    for name in ("baseline", "hard"):
        (here / f"r/hard/{name}.json").write_bytes((here / f"r/{name}/report.json").read_bytes())
    assert call_json("compare", "baseline.json", "hard.json").document["names"] == ["baseline", "hard"]
    assert call_json("compare", ".", "../baseline").document["names"] == ["hard", "baseline"]
    assert call_json("compare", "../hard", "hard.json").document["names"] == ["hard", "hard.json"]
    twice = call("compare", ".", "../baseline", "../hard/report.json")
    assert (twice.code, "../hard/report.json is given twice" in twice.err) == (2, True)


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
    words = ("attack", "m.skops", "--data", "data.npz", "--eps", 0.3)
    asked = call_json(*words, "--attack", "square", "--queries", 40).document
    assert asked["robust_accuracy"]["count"] < asked["clean_accuracy"]["count"]
    assert asked["backwards"] == 0
    blind = call(*words)
    assert (blind.code, "pgd needs gradients and this model grants scores" in blind.err) == (2, True)
    assert call(*words, "--attack", "square", "--store", "work").code == 2  # nothing to recognise the model by


def test_surrogates_seeds_and_intervals(here, call, call_json):
    (here / "tiny_suite.yaml").write_text("name: t\nattacks: [fgsm]\ntransfer: [mi_fgsm]\nsurrogate: {rounds: 1, epochs: 1}\n")
    words = ("evaluate", "hard", "--data", "data.npz", "--eps", 0.05, "--suite", "tiny_suite.yaml", "--samples", 30)
    both = call_json(*words, "--surrogate", "baseline", "--seeds", 2, "--interval", "wilson").document
    assert [one["name"] for one in both["surrogates"]] == ["baseline", "distilled"]
    assert [row["surrogate"] for row in both["attacks"]] == [None, "baseline", "distilled"]
    assert both["transfer"]["names"] == ["model", "baseline", "distilled"]
    assert both["variation"]["seeds"] == [0, 1]
    assert both["robust_accuracy"]["method"] == "wilson"
    shown = call(*words, "--surrogate", "baseline", "--seeds", 2).out
    for part in ("Surrogate distilled", "Transfer of mi_fgsm", "Over 2 seeds"):
        assert part in shown
    assert call(*words, "--interval", "wilsons").code == 2
    assert call(*words, "--seeds", 2, "--at-least", 0.5).code == 2
    assert call(*words, "--surrogate", "nowhere").code == 2
    assert call(*words, "--surrogate", "baseline", "--surrogate", "baseline").code == 2


def test_a_distilled_surrogate_of_what_only_answers(here, call_json):
    (here / "boxes.py").write_text(
        "from sklearn.linear_model import LogisticRegression\nfrom martensite.models import Access, BlackBox\n"
        "from martensite.data import load_data\n\n\ndef estimator():\n    data = load_data('data.npz')\n"
        "    return LogisticRegression(max_iter=300).fit(data.x.flatten(1).numpy(), data.y.numpy())\n\n\n"
        "def callable_():\n    fitted = estimator()\n"
        "    return BlackBox(lambda x: fitted.predict(x.reshape(len(x), -1)), 3, access=Access.DECISIONS)\n"
    )
    words = ("--data", "data.npz", "--eps", 0.1, "--suite", "quick", "--samples", 12)
    scores = call_json("evaluate", "boxes.py:estimator", *words, "--surrogate", "distilled").document
    assert scores["access"] == "scores"
    assert {row["surrogate"] for row in scores["attacks"]} == {None, "distilled"}
    assert scores["surrogates"][0]["queries"] > 12
    labels = call_json("evaluate", "boxes.py:callable_", *words).document
    assert (labels["access"], labels["surrogates"]) == ("decisions", [])
    assert call_json("evaluate", "hard", *words, "--endpoint", "rate=2").code == 2
    assert call_json("evaluate", "boxes.py:estimator", *words, "--weights", "w.safetensors").code == 2


def test_an_adversarial_inside_a_certified_radius_is_a_contradiction(here, call, call_json):
    words = ("hard", "--data", "data.npz", "--norm", "linf", "--eps", 0.2, "--samples", 9)
    assert call("certify", *words, "--method", "ibp", "--out", "certs/report.json").code == 0
    certified = ("evaluate", *words, "--suite", "quick", "--certified", "certs/report.json")
    honest = call_json(*certified).document
    assert "contradiction" not in [one["name"] for one in honest["diagnostics"]]
    forged = json.loads((here / "certs/report.json").read_text())
    (here / "certs/report.json").write_text(json.dumps({**forged, "radius": [0.5] * 9}))
    (found,) = [one for one in call_json(*certified).document["diagnostics"] if one["name"] == "contradiction"]
    assert found["severity"] == "invalid"
    assert call(*certified, "--at-least", 0.5).code == 3  # figures that contradict a proof decide nothing
    assert call("evaluate", *words[:-1], 8, "--suite", "quick", "--certified", "certs/report.json").code == 2


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


def test_what_an_evaluation_leaves_is_a_page_with_its_gallery_and_its_command(here, call, call_json):
    words = ("evaluate", "baseline", "--data", "data.npz", "--eps", "0.3", "--suite", "quick", "--seed", "3")
    document = call_json(*words, "--out", "r", "--markdown", "r.md", "--junit", "r.xml", "--store", "kept").document
    assert document["command"] == "martensite " + " ".join(words)
    page = (here / "r/report.html").read_text()
    assert document["command"] in page
    assert 'id="examples"' in page
    assert page.count('alt="Sample') == 3 * min(12, document["outcomes"].count("broken")) > 0
    assert (here / "r.md").read_text().startswith("### Robust accuracy")
    assert "<testsuite" in (here / "r.xml").read_text()
    assert call("report", "r", "--out", "again.html").code == 0
    assert (here / "again.html").read_text() == page
    (here / "r/examples.safetensors").write_bytes(b"broken")
    assert call("report", "r").code == 2


def test_a_password_in_an_address_is_in_no_report(call):
    from martensite.cli.typed import SECRET

    assert SECRET.sub("", "evaluate https://me:se@cret@host/v2/models/m --data d") == "evaluate https://host/v2/models/m --data d"


def test_several_threat_models_have_a_page_of_their_own_and_one_each(here, call, call_json):
    words = (
        "evaluate",
        "hard",
        "--data",
        "data.npz",
        "--suite",
        "quick",
        "--samples",
        30,
        "--threat",
        "linf:0.1",
        "--threat",
        "l2:0.5",
    )
    document = call_json(*words, "--out", "u").document
    assert {path.name for path in (here / "u").glob("*/report.html")} == {"report.html"}
    page = (here / "u/report.html").read_text()
    assert page.count('alt="Sample') == 3 * sum(min(4, one["outcomes"].count("broken")) for one in document["reports"]) > 0
    assert f"robust to every one of {len(document['reports'])} threat models" in page
    assert "--threat linf:0.1 --threat l2:0.5" in page
    assert call_json("report", "u", "--markdown", "u.md").document == document
    assert (here / "u.md").read_text().count("#### Robust accuracy") == 2


def test_transfer_and_summaries_of_a_comparison(here, call, call_json):
    for name in ("baseline", "hard"):
        assert call("evaluate", name, "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--out", f"r/{name}").code == 0
    words = ("compare", "r/baseline", "r/hard", "--data", "data.npz")
    document = call_json(*words, "--transfer", "baseline", "--transfer", "hard", "--out", "c", "--junit", "c.xml").document
    assert document["transfer"]["names"] == ["baseline", "hard"]
    assert "judged on hard" in (here / "c/report.html").read_text()
    assert "hard: no less robust than baseline" in (here / "c.xml").read_text()
    assert call_json("report", "c", "--markdown", "c.md").document == document
    assert "2 models compared" in (here / "c.md").read_text()
    swapped = call(*words, "--transfer", "hard", "--transfer", "baseline")
    assert (swapped.code, "their digests differ" in swapped.err) == (2, True)
    assert call(*words, "--transfer", "hard").code == 2
    assert call(*words, "--samples", 20, "--transfer", "baseline", "--transfer", "hard").code == 2


def test_a_leaderboard_has_runs_as_well_and_links_to_pages(here, call, digits_run):
    assert call("evaluate", "hard", "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--out", "all/a b").code == 0
    (here / "all/run").mkdir()
    for name in ("report.json", "report.html"):
        (here / "all/run" / name).write_bytes((digits_run / name).read_bytes())
    assert call("report", "--index", "all").code == 0
    page = (here / "all/index.html").read_text()
    assert 'href="a%20b/report.html">a b</a>' in page
    assert 'href="run/report.html">run: hardened</a>' in page
