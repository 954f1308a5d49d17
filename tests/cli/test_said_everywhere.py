"""What bears on a figure is said wherever the figure is: on the terminal, in JSON, on the page, in Markdown and in JUnit."""

import json
from xml.etree import ElementTree

import pytest
from sklearn.linear_model import LogisticRegression

from martensite.data import load_data

QUICK = ("--data", "data.npz", "--eps", 0.001, "--suite", "quick")


def ends(folder, call, *words):
    """One evaluation: its terminal, then all that it leaves."""
    result = call("evaluate", *words, "--out", "o", "--markdown", "o.md", "--junit", "o.xml")
    assert result.code in (0, 3), result.err
    texts = {name: (folder / name).read_text() for name in ("o.md", "o.xml", "o/report.html", "o/report.json")}
    return result, {"terminal": result.out, "again": call("report", "o").out, **texts}


def test_no_pass_is_said_while_the_figures_are_invalid(here, call):
    (here / "blind.yaml").write_text("name: blind\ncanaries: [masked]\nattacks: [fgsm]\n")
    result, said = ends(here, call, "baseline", *QUICK[:-1], "blind.yaml", "--at-least", 0.5)
    assert result.code == 3
    for place in ("terminal", "again"):
        assert "PASS" not in said[place]
        assert "INCONCLUSIVE: at least 50.0%" in said[place]
    assert "**INCONCLUSIVE**: at least 50.0%" in said["o.md"]
    assert "PASS" not in said["o.md"]
    assert json.loads(said["o/report.json"])["decision"]["verdict"] == "INCONCLUSIVE"
    first = said["o/report.html"].split('<ul class="checks">')[1].split("</li>")[0]
    assert ">INCONCLUSIVE<" in first
    (case,) = [one for one in ElementTree.fromstring(said["o.xml"]) if one.get("name") == "at least 50.0% robust"]
    assert [part.tag for part in case] == ["error"]


def test_a_decision_is_in_the_markdown(here, call):
    _, said = ends(here, call, "baseline", *QUICK, "--at-least", 0.5)
    assert "**PASS**: at least 50.0%, after 90 samples." in said["o.md"]


def test_the_variation_over_seeds_is_in_the_markdown(here, call):
    _, said = ends(here, call, "baseline", *QUICK, "--seeds", 2)
    (line,) = [line for line in said["terminal"].splitlines() if line.startswith("Over 2 seeds")]
    assert line in said["o.md"]


@pytest.mark.parametrize("threats", [1, 2])
def test_too_few_samples_for_the_interval_that_was_asked_for(threats, here, call, call_json):
    stated = ("--threat", "linf:0.05", "--threat", "l2:0.3")[: 2 * threats]
    words = ("baseline", "--data", "data.npz", *stated, "--suite", "quick", "--half-width", 0.02)
    _, said = ends(here, call, *words)
    document = call_json("evaluate", *words).document
    reports = document.get("reports", [document])
    assert len(reports) == threats
    for one in reports:
        half = 50 * (one["robust_accuracy"]["high"] - one["robust_accuracy"]["low"])
        (warning,) = [text for text in one["warnings"] if "+-0.02" in text]
        assert warning.endswith(f"and there are 90: that of robust accuracy is +-{half:.1f} points")
        for place, text in said.items():
            assert warning in text.replace("&#43;", "+"), place


def test_figures_of_queries_alone_say_so(here, call):
    io = pytest.importorskip("skops.io")
    data = load_data("data.npz")
    io.dump(LogisticRegression(max_iter=500).fit(data.x.flatten(1).numpy(), data.y.numpy()), here / "m.skops")
    _, said = ends(here, call, "m.skops", "--data", "data.npz", "--eps", 0.1, "--suite", "quick", "--samples", 12)
    for place in ("terminal", "again", "o.md", "o/report.html"):
        assert "The adversary saw scores only" in said[place], place
    for name in ("a", "b"):
        (here / name).mkdir()
        (here / name / "report.json").write_text(said["o/report.json"])
    assert "The adversary saw scores only" in call("compare", "a", "b", "--markdown", "c.md").out
    assert "The adversary saw scores only" in (here / "c.md").read_text()


def test_a_leaderboard_names_what_it_could_not_read(here, call, call_json):
    assert call("evaluate", "hard", *QUICK, "--out", "idx/a").code == 0
    (here / "idx/report.json").write_bytes((here / "idx/a/report.json").read_bytes())
    (here / "idx/b").mkdir()
    (here / "idx/b/report.json").write_text("{")
    result = call_json("report", "--index", "idx")
    assert result.code == 0
    assert result.document["reports"] == ["a", "idx"]
    assert list(result.document["unreadable"]) == ["b/report.json"]
    assert "idx/b/report.json is not JSON" in result.err
    page = (here / "idx/index.html").read_text()
    assert "b/report.json is left out" in page
    assert "idx/b/report.json is not JSON" in page
