"""martensite defend: defences by name, several bundles as one, and the honest figure beside the naive one."""

import json

import pytest

from martensite.artifacts import load_bundle, read_manifest
from martensite.cli.defences import read_part
from martensite.core.errors import ConfigError
from martensite.defenses import Defended

DATA = ("--calibrate", "data.npz", "--false-alarms", 0.1)
EVALUATE = ("--data", "data.npz", "--eps", 0.05, "--suite", "suite.yaml")


def test_parts_are_read_as_they_are_written():
    assert read_part("jpeg") == {"kind": "jpeg"}
    assert read_part("jpeg:quality=50") == {"kind": "jpeg", "quality": 50}
    nested = read_part("squeezing:squeezers=[{kind: median, size: 3}, bit_depth]")
    assert nested == {"kind": "squeezing", "squeezers": [{"kind": "median", "size": 3}, "bit_depth"]}
    assert read_part("learned:eps=8/255,epochs=2") == {"kind": "learned", "eps": "8/255", "epochs": 2}
    with pytest.raises(ConfigError, match="is no setting"):
        read_part("jpeg:50")
    with pytest.raises(ConfigError, match="already"):
        read_part("jpeg:quality=5,quality=6")


def test_a_defended_bundle_is_written_and_evaluated(here, call_json):
    words = ("--transform", "gaussian:sigma=0.4", "--detector", "energy", "--detector", "mahalanobis", "--rules", *DATA)
    made = call_json("defend", "baseline", *words, "--out", "defended")
    assert made.code == 0
    document = made.document
    assert document["defences"] == ["rules", "energy", "mahalanobis", "gaussian"]
    assert document["calibration"] == [45, 45]
    assert document["defence"]["hardened"] is False
    model = load_bundle("defended")
    assert isinstance(model, Defended)
    assert read_manifest("defended").digest == document["digest"]
    report = call_json("evaluate", "defended", *EVALUATE)
    assert report.code == 0
    found = report.document["defence"]
    assert found["names"] == document["defences"]
    assert found["false_alarms"] == 0.1
    assert found["naive"]["n"] == found["refused"]["n"] == 90
    assert any("alarm" in how for how in found["adaptive"])


def test_the_honest_figure_stands_beside_the_naive_one(here, call):
    assert call("defend", "hard", "--transform", "bit_depth:bits=2", "--out", "defended").code == 0
    shown = " ".join(call("evaluate", "defended", *EVALUATE).out.split())
    assert "Defended by bit_depth." in shown
    assert shown.index("naive:") < shown.index("honest:")
    assert "masked_gradients" in shown
    naive = " ".join(call("evaluate", "defended", *EVALUATE, "--naive").out.split())
    assert "honest: not measured" in naive
    assert "not_adaptive" in naive
    assert "INCONCLUSIVE" in naive


def test_a_quantiser_before_a_hardened_model_is_warned_of(here, call_json, call):
    made = call_json("defend", "hard", "--transform", "jpeg", "--out", "defended")
    assert "before an adversarially trained model" in made.document["warnings"][0]
    assert read_manifest("defended").threat == read_manifest("hard").threat
    assert "warning" in call("defend", "hard", "--transform", "jpeg", "--out", "defended").out
    assert call_json("defend", "baseline", "--transform", "jpeg", "--out", "defended").document["warnings"] == []


def test_several_bundles_become_an_ensemble(here, call_json, call):
    joined = call_json(
        "defend", "baseline", "hard", "--ensemble", "vote", "--calibrate", "data.npz", "--eps", 0.05, "--out", "two"
    )
    assert joined.code == 0
    assert joined.document["defence"] is None
    diverse = joined.document["diversity"]
    assert diverse["transfer"]["names"] == ["baseline", "hard"]
    assert diverse["cosine"][0][0] == pytest.approx(1.0, abs=1e-6)
    assert json.loads((here / "two" / "model.json").read_text())["architecture"]["combine"] == "vote"
    shown = call(
        "defend", "baseline", "hard", "--ensemble", "logits", "--transform", "median", *DATA, "--eps", 0.05, "--out", "three"
    )
    assert shown.code == 0
    assert "mean cosine" in shown.out
    assert "Defences: median" in shown.out


def test_a_vote_says_that_it_abstains(here, call_json):
    assert call_json("defend", "baseline", "--voting", "sigma=0.1,votes=20", "--out", "voted").code == 0
    report = call_json("evaluate", "voted", *EVALUATE, "--samples", 12)
    assert report.document["defence"]["names"] == ["voting"]
    assert report.document["defence"]["refused"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("baseline",), "no defence was stated"),
        (("baseline", "--transform", "jpg"), "did you mean 'jpeg'"),
        (("baseline", "--transform", "jpeg:quality=0"), "quality"),
        (("baseline", "--detector", "energy"), "no clean data was given"),
        (
            ("baseline", "--detector", "energy", "--calibrate", "data.npz", "--false-alarms", "0.001"),
            "at least 999 clean samples",
        ),
        (("baseline", "--detector", "energy", *DATA[:2], "--false-alarms", "often"), "a number is needed"),
        (("baseline", "--detector", "learned", *DATA), "lacks 'eps'"),
        (("baseline", "hard", "--transform", "jpeg"), "add --ensemble"),
        (("baseline", "--ensemble", "vote"), "several are joined"),
        (("baseline", "hard", "--ensemble", "best"), "known: logits"),
        (("baseline", "--transform", "jpeg", "--table", "names.yaml"), "add --rules"),
        (("baseline", "--voting", "sigma=0.1", "--transform", "jpeg"), "gets its noise last"),
        (("nothing", "--transform", "jpeg"), "can't be read"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(here, call, unchanged, words, message):
    result = call("defend", *words, "--out", "made")
    assert result.code == 2
    assert message in result.err
    unchanged()


def test_a_defended_bundle_is_neither_defended_nor_trained_again(here, call):
    assert call("defend", "baseline", "--transform", "jpeg", "--out", "defended").code == 0
    twice = call("defend", "defended", "--transform", "median", "--out", "twice")
    assert (twice.code, "defended already" in twice.err) == (2, True)
    harder = call("harden", "defended", "--data", "data.npz", "--eps", 0.05, "--out", "harder", "--epochs", 1)
    assert (harder.code, "is defended" in harder.err) == (2, True)
    assert not (here / "harder").exists()
