"""How a model stands is said in one word, and the gravest thing decides it."""

import pytest

from martensite.serving.monitoring.snapshot import Alarms, Alert, Drift, DriftTest, Evidence, Version
from martensite.serving.monitoring.standing import LOADING, ago, firing, stand

NOW = 1_000_000.0
PASSED = Evidence(verdict="PASS", policy="strict", judged=NOW - 16, oldest=NOW - 3 * 86_400)


def version(**changes):
    given = {"version": "3", "digest": "sha256:a", "route": "primary", "state": "serving", "since": NOW, "evidence": PASSED}
    return Version(**{**given, **changes})


def alert(name="Drift", status="firing", model="m", **more):
    return Alert(time=NOW, name=name, status=status, model=model, **more)


def test_a_proven_model_serves():
    found = stand("m", "", [version()], [], None, NOW)
    assert (found.word, found.tone) == ("Serving", "pass")
    assert "strict" in found.lead
    assert found.reasons[0].text == "Policy strict, judged 16 s ago; the oldest claim that counts is from 3 days ago."


def test_without_evidence_it_is_never_green():
    found = stand("m", "", [version(evidence=Evidence())], [], None, NOW)
    assert (found.word, found.tone) == ("Serving", "inconclusive")


@pytest.mark.parametrize(
    ("versions", "reason", "word", "tone"),
    [
        ([version(state="out", evidence=PASSED.model_copy(update={"reason": "it expired"}))], "it expired", "Taken out", "fail"),
        ([], "signature: one byte differs", "Refused", "fail"),
        ([], LOADING, "Loading", "inconclusive"),
    ],
)
def test_what_answers_nobody_says_why(versions, reason, word, tone):
    found = stand("m", reason, versions, [alert()], None, NOW)
    assert (found.word, found.tone) == (word, tone)
    assert word == "Loading" or reason in found.lead.lower()


def test_what_was_taken_out_is_not_marked_as_passed():
    taken = version(state="out", evidence=PASSED.model_copy(update={"reason": "suspended", "suspended": True}))
    first = stand("m", "suspended", [taken], [], None, NOW).reasons[0]
    assert (first.mark, first.tone) == ("OUT", "fail")
    assert first.text.startswith("Suspended by a claim.")


def test_a_test_that_rang_is_an_alarm():
    test = DriftTest(name="ks", about="features", alarm=True, detail="pixel 12")
    found = stand("m", "", [version(drift=Drift(watched=True, alarm=True, tests=(test,)))], [], None, NOW)
    assert (found.word, found.tone) == ("Alarm", "inconclusive")
    assert "drift of features" in found.lead
    assert any("pixel 12" in one.text for one in found.reasons)


def test_drift_of_a_shadow_is_no_alarm_of_what_serves():
    test = DriftTest(name="ks", about="features", alarm=True)
    shadow = version(route="shadow", drift=Drift(watched=True, alarm=True, tests=(test,)))
    assert stand("m", "", [version(), shadow], [], None, NOW).word == "Serving"


def test_the_last_word_of_an_alert_counts():
    assert firing([alert(status="resolved"), alert(status="firing")], "m") == []
    assert [one.name for one in firing([alert(status="firing"), alert(status="resolved")], "m")] == ["Drift"]
    assert firing([alert(model="other")], "m") == []
    assert firing([alert(model="")], "m")


def test_everything_that_bears_on_trust_is_a_reason():
    watched = version(alarms=Alarms(detects=True, flagged=1, decisions={"answered": 9, "flagged": 1}, share=0.1, suspicious=1234))
    fires = [alert(name="Errors", severity="critical", summary="s")]
    found = {one.title: one for one in stand("m", "", [watched], fires, 7, NOW).reasons}
    assert found["Detectors"].text == "1 of 10 samples were flagged; 10.0% of the last minute's."
    assert "1,234 requests" in found["Queries"].text
    assert (found["Audit log"].mark, found["Audit log"].tone) == ("LOST", "fail")
    assert (found["Drift"].mark, found["Drift"].tone) == ("OFF", "")
    assert next(one for one in found.values() if one.mark == "FIRES").tone == "fail"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (9e6, "104 days ago")]
)
def test_how_long_ago(seconds, text):
    assert ago(NOW - seconds, NOW) == text


def test_a_new_version_that_was_refused_is_told_beside_the_old_one():
    found = stand("m", "", [version()], [], None, NOW, "defence.safetensors was altered")
    assert (found.word, found.tone) == ("Serving", "pass")
    assert any(one.mark == "REFUSED" and "defence.safetensors was altered" in one.text for one in found.reasons)
