"""What is given away, against scipy and by counting."""

import numpy as np
import pytest
from scipy.special import softmax

from martensite.core.errors import ConfigError
from martensite.serving.outcome import Outcome
from martensite.serving.output import Output

LOGITS = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32) * 3


def outcome(decisions=None):
    plain = Outcome.plain(LOGITS.copy())
    return plain if decisions is None else Outcome(plain.logits, decisions, plain.score, plain.p_value)


def test_probabilities_are_the_softmax():
    values = Output().values(outcome(), detects=False)
    np.testing.assert_allclose(values["probabilities"], softmax(LOGITS, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(values["label"], LOGITS.argmax(1))
    assert "logits" not in values
    assert "p_value" not in values


def test_top_k_gives_the_likeliest_with_their_classes():
    values = Output(top_k=2, digits=2).values(outcome(), detects=False)
    expected = np.argsort(-LOGITS, axis=1)[:, :2]
    np.testing.assert_array_equal(values["classes"], expected)
    probabilities = np.take_along_axis(softmax(LOGITS, axis=1), expected, axis=1)
    np.testing.assert_allclose(values["probabilities"], np.round(probabilities, 2), atol=1e-6)


@pytest.mark.parametrize("digits", [2, 7])
def test_rounded_figures_are_written_short(served, x, digits):
    answer = served(model={"output": {"digits": digits}}).infer(x)
    (found,) = [one for one in answer.json()["outputs"] if one["name"] == "probabilities"]
    assert found["datatype"] == "FP32"
    assert all(one == round(one, digits) for one in found["data"])
    assert any(one not in (0.0, 1.0) for one in found["data"])


def test_no_scores_at_all():
    assert [*Output(scores="none").values(outcome(), detects=False)] == ["label", "decision"]
    with pytest.raises(ConfigError):
        Output(scores="none", top_k=1)


@pytest.mark.parametrize("settings", [Output(), Output(scores="logits"), Output(top_k=3), Output(scores="none")])
def test_what_is_refused_tells_nothing(settings):
    words = ["answered", "refused", "abstained", "failed", "flagged", "routed"]
    values = settings.values(outcome(words), detects=True)
    assert (values["label"] == -1).tolist() == [False, True, True, True, False, False]
    for name in ("probabilities", "logits"):
        if name in values:
            assert not values[name][1:4].any()
    if "classes" in values:
        assert (values["classes"][1:4] == -1).all()
    assert values["decision"] == words


@pytest.mark.parametrize("settings", [Output(), Output(scores="logits", digits=1), Output(top_k=9), Output(scores="none")])
@pytest.mark.parametrize("detects", [False, True])
def test_metadata_describe_what_is_given(settings, detects):
    from martensite.serving.protocol.tensors import datatype_of

    values = settings.values(outcome(), detects)
    described = settings.described(5, detects)
    assert [*described] == [*values]
    for name, found in values.items():
        kind, shape = described[name]
        assert kind == datatype_of(found)
        assert shape == [-1, *([] if isinstance(found, list) else found.shape[1:])]


def test_logits_that_are_not_finite_have_failed():
    logits = LOGITS.copy()
    logits[1, 0], logits[2, 1] = np.nan, np.inf
    found = Outcome.plain(logits)
    assert found.decisions == ["answered", "failed", "failed", "answered", "answered", "answered"]
    values = Output().values(found, detects=False)
    assert np.isfinite(values["probabilities"]).all()
    assert found.gravest == "failed"
