"""Several threat models on the command line: stopped together, gated, ranked, and not compared."""

import json

import numpy as np
import pytest

BOTH = ("--threat", "linf:0.001", "--threat", "l2:0.5")


@pytest.fixture
def many(here, images):
    x, y = images(300, seed=0)
    np.savez(here / "many.npz", x=x, y=y)
    return "many.npz"


def test_an_early_stop_is_about_the_union(many, here, call, call_json):
    words = ("evaluate", "baseline", "--data", many, *BOTH, "--suite", "quick", "--at-least", 0.6, "--out", "u")
    result = call_json(*words, "--markdown", "u.md", "--junit", "u.xml")
    decision, reports = result.document["decision"], result.document["reports"]
    assert {one["data"]["n"] for one in reports} == {decision["samples"], result.document["union_accuracy"]["n"]}
    assert result.code == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[decision["verdict"]]
    said = f"{decision['verdict']}: at least 60.0%, after {decision['samples']} samples, of all threat models together"
    assert said in call("report", "u").out
    assert said.replace(":", "**:", 1) in (here / "u.md").read_text()
    assert "all threat models: at least 60.0% robust" in (here / "u.xml").read_text()
    assert '<span class="aside">all of them</span>' in (here / "u/report.html").read_text()


def test_a_threat_model_is_stated_once(here, call):
    words = ("evaluate", "baseline", "--data", "data.npz", "--suite", "quick")
    twice = call(*words, "--threat", "linf:0.03", "--threat", "linf:0.030")
    assert (twice.code, "each once" in twice.err) == (2, True)


def test_a_gate_judges_the_union(here, call, call_json):
    words = ("evaluate", "--data", "data.npz", *BOTH, "--suite", "quick", "--out")
    for name in ("baseline", "hard"):
        assert call(words[0], name, *words[1:], f"r/{name}").code == 0
    union = json.loads((here / "r/hard/report.json").read_text())["union_accuracy"]
    passed = call_json("gate", "r/hard", "--min-robust-accuracy", union["low"], "--min-clean-accuracy", 0)
    assert (passed.code, passed.document["verdict"]) == (0, "PASS")
    assert "all of l2 eps 0.5" in passed.document["checks"][1]["reason"]
    assert call("gate", "r/hard", "--min-robust-accuracy", (union["value"] + union["high"]) / 2).code == 3
    assert call("gate", "r/hard", "--max-robust-drop", 1, "--baseline", "r/baseline").code == 0
    other = call("gate", "r/hard", "--max-robust-drop", 1, "--baseline", "r/baseline/threat-1")
    assert (other.code, "threat model" in other.err) == (2, True)
    compared = call("compare", "r/hard", "r/baseline")
    assert (compared.code, "threat-1 to threat-2" in compared.err) == (2, True)
    assert call("compare", "r/hard/threat-1", "r/baseline/threat-1").code == 0


def test_a_union_has_a_row_of_its_own_on_the_leaderboard(here, call, call_json):
    assert call("evaluate", "hard", "--data", "data.npz", *BOTH, "--suite", "quick", "--out", "all/un").code == 0
    assert call_json("report", "--index", "all").document["reports"] == ["un", "un/threat-1", "un/threat-2"]
    page = (here / "all/index.html").read_text()
    assert 'href="un/report.html">un</a>' in page
    assert "all of l2 eps 0.5 in [0, 1], linf eps 0.001 in [0, 1]" in page
