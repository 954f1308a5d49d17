"""Rego in process: exact numbers, texts that can't forge an answer, and no answer is never a PASS."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.core.errors import ConfigError
from martensite.gates.examples import specimen, try_examples
from martensite.gates.policy import SHIPPED, Policy
from martensite.gates.rego import evaluate
from martensite.gates.short_form import Require, ShortForm, Waiver

HEAD = "package martensite.policy\nimport rego.v1\nimport data.martensite.evidence\n"


def checks(body, document=None):
    return evaluate(HEAD + body, document or {})


# Every evaluation parses the helpers anew, so that each asks many things at once.


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-9, 1e12), st.sampled_from([1 - 1e-12, 1 + 1e-12])), min_size=25, max_size=50))
def test_numbers_arrive_with_twelve_digits_at_least(pairs):
    """Given from Python as objects, regopy would keep six decimals of them."""
    body = """checks contains {"rule": "asked", "verdict": "PASS", "reason": ""}
    checks contains {"rule": sprintf("%d", [place]), "verdict": "PASS", "reason": ""} if {
        some place, pair in input.pairs
        pair.x < pair.y
    }"""
    found = checks(body, {"pairs": [{"x": x, "y": x * factor} for x, factor in pairs]})
    assert {one.rule for one in found} - {"asked"} == {str(place) for place, (_, factor) in enumerate(pairs) if factor > 1}


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=20, max_size=40))
def test_texts_come_back_as_they_were(texts):
    body = """checks contains {"rule": sprintf("%d", [place]), "verdict": "PASS", "reason": text} if {
        some place, text in input.texts
    }"""
    assert {one.rule: one.reason for one in checks(body, {"texts": texts})} == {str(n): text for n, text in enumerate(texts)}


def test_a_claim_can_not_forge_a_verdict():
    text = 'x", "verdict": "PASS", "rule": "approval'
    body = 'checks contains {"rule": "r", "verdict": "FAIL", "reason": sprintf("%v", [input])}'
    (one,) = checks(body, {"a": text, text: ["]}]}"]})
    assert (one.rule, one.verdict) == ("r", "FAIL")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "no checks"),
        ("checks := set()", "asks for nothing"),
        ("checks contains one if some one in input.nothing", "asks for nothing"),
        ("checks := 3", "no checks"),
        ('checks contains {"rule": "r"}', "lacks rule, verdict or reason"),
        ('checks contains {"rule": "r", "verdict": "FINE", "reason": ""}', "FINE"),
        ('checks contains {"rule": 3, "verdict": "PASS", "reason": ""}', "lacks"),
        ('checks contains {"rule": "a", "verdict": "PASS", "reason": ""}\nchecks contains {"rule": "b"}', "lacks"),
    ],
)
def test_what_is_no_answer_is_inconclusive(body, reason):
    (one,) = checks(body)
    assert (one.rule, one.verdict) == ("policy", "INCONCLUSIVE")
    assert reason in one.reason


def test_a_policy_can_reach_nothing_outside():
    with pytest.raises(ConfigError):
        evaluate(HEAD + "checks contains {", {})
    (one,) = checks('checks contains {"rule": "r", "verdict": "PASS", "reason": http.send({"url": "http://localhost"}).body}')
    assert one.verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_do_as_their_examples_say(name):
    outcomes = try_examples(Policy.load(name))
    assert len(outcomes) >= 5
    assert [one for one in outcomes if one.complaint] == []


def test_a_wrong_example_is_told(tmp_path):
    (tmp_path / "p.yaml").write_text("require: {scan: {}}")
    policy = Policy.load(tmp_path / "p.yaml")
    with pytest.raises(ConfigError, match="has no examples"):
        try_examples(policy)
    (tmp_path / "p.examples.yaml").write_text(
        "examples:\n- {name: a, expect: FAIL}\n- {name: b, expect: PASS, rules: [scan]}\n- {name: c, expect: PASS}\n"
    )
    told = [one.complaint for one in try_examples(Policy.load(tmp_path / "p.yaml"))]
    assert told[0] == "PASS instead of FAIL"
    assert "expected: scan" in told[1]
    assert told[2] == ""
    (tmp_path / "p.examples.yaml").write_text("examples:\n- {name: a, expect: FAIL, set: {claims.scan.7.days: 3}}\n")
    with pytest.raises(ConfigError, match="is not there"):
        try_examples(Policy.load(tmp_path / "p.yaml"))


def judged(tmp_path, text, change=lambda evidence: None):
    (tmp_path / "p.yaml").write_text(text)
    evidence = specimen()
    change(evidence)
    return {check.rule: check.verdict for check in Policy.load(tmp_path / "p.yaml").judge(evidence)}


def test_every_requirement_of_the_short_form_is_answered(tmp_path):
    text = """require:
  robustness: {max_age_days: 9, min_clean_accuracy: 0.9, min_robust_accuracy: 0.9, min_samples: 9, norm: linf, min_eps: 8/255,
               suites: [standard], min_canaries: 3}
  certification: {radius: 0.3, min_certified_accuracy: 0.9}
  privacy: {max_epsilon: 3, max_delta: 1e-5}
  scan: {}
  training: {}
  data: {}
  bom: {}
  release: {monotonic: true}
  approval: {people: 3}
  audit: {}
"""
    found = judged(tmp_path, text)
    assert set(found.values()) == {"PASS"}
    assert set(found) >= set(Require.model_fields)
    claimed = set(Require.model_fields) - {"audit"}
    assert judged(tmp_path, text, lambda evidence: evidence.pop("audited"))["audit"] == "FAIL"
    for kind in claimed:  # and each of them fails without its claims
        assert judged(tmp_path, text, lambda evidence, kind=kind: evidence["claims"].pop(kind))[kind] == "FAIL"
    for kind in claimed - {"approval"}:  # or with those of long ago

        def age(evidence, kind=kind):
            for claim in evidence["claims"][kind]:
                claim["created"] -= 100 * 86400

        old = (
            text if kind == "robustness" else text.replace(f"  {kind}: {{", f"  {kind}: {{max_age_days: 50, ").replace(", }", "}")
        )
        assert judged(tmp_path, old, age)[f"{kind}.max_age_days"] == "FAIL"


def test_a_claim_that_holds_no_answer_is_inconclusive(tmp_path):
    text = "require: {robustness: {min_clean_accuracy: 0.5}}"

    def without(evidence):
        del evidence["claims"]["robustness"][0]["predicate"]["clean_accuracy"]["low"]

    assert judged(tmp_path, text, without)["robustness.min_clean_accuracy"] == "INCONCLUSIVE"


def test_eps_is_compared_with_more_than_six_decimals(tmp_path):
    for eps, verdict in ((8 / 255, "PASS"), (8 / 255 - 1e-13, "FAIL")):

        def change(evidence, eps=eps):
            evidence["claims"]["robustness"][0]["predicate"]["threat"]["eps"] = eps

        assert judged(tmp_path, "require: {robustness: {min_eps: 8/255}}", change)["robustness.min_eps"] == verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("require: {}", "requires nothing"),
        ("require: {robustnes: {}}", "robustnes"),
        ("require: {robustness: {min_robust_acuracy: 0.5}}", "min_robust_acuracy"),
        ("require: {robustness: {min_robust_accuracy: 50}}", "less than or equal to 1"),
        ("require: {certification: {radius: 0.1}}", "give both"),
        ("require: {scan: {}}\nwaivers: [{rule: signature, owner: a, reason: b, expires: 2030-01-01}]", "always holds"),
        ("require: {scan: {}}\nwaivers: [{rule: scan, owner: a, expires: 2030-01-01}]", "lacks 'reason'"),
    ],
)
def test_policies_that_say_nothing_or_too_much_are_refused(text, message, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Policy.load(tmp_path / "p.yaml")


def test_other_policies_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'strict'"):
        Policy.load("strickt")
    (tmp_path / "p.rego").write_text("package other\n")
    with pytest.raises(ConfigError, match="is another package"):
        Policy.load(tmp_path / "p.rego")


def test_the_short_form_is_its_rego(tmp_path):
    """Both forms of a policy judge alike."""
    form = ShortForm.from_yaml("require: {scan: {}, approval: {people: 2}}")
    (tmp_path / "p.rego").write_text(form.rego())
    (tmp_path / "p.yaml").write_text("require: {scan: {}, approval: {people: 2}}")
    both = [Policy.load(tmp_path / name).judge(specimen()) for name in ("p.rego", "p.yaml")]
    assert both[0] == both[1]


def test_a_waiver_states_a_moment():
    waiver = Waiver.parse({"rule": "scan", "owner": "a", "reason": "b", "expires": "2030-01-01"})
    assert waiver.expires.tzinfo is not None
    with pytest.raises(ConfigError, match="is no moment"):
        Waiver.parse({"rule": "scan", "owner": "a", "reason": "b", "expires": "soon"})


def test_digests_are_reused_only_where_a_policy_says_so(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("require: {scan: {}}\nverification: {reuse_hours: 24}\n")
    policy = Policy.load(path)
    assert policy.reuse_hours == 24.0
    (tmp_path / "same.rego").write_text(policy.rego)
    assert Policy.load(tmp_path / "same.rego").reuse_hours == 24.0
    assert [Policy.load(name).reuse_hours for name in SHIPPED] == [None] * len(SHIPPED)
    (tmp_path / "none.rego").write_text(HEAD + 'checks contains {"rule": "r", "verdict": "PASS", "reason": ""}')
    assert Policy.load(tmp_path / "none.rego").reuse_hours is None


@pytest.mark.parametrize(
    "stated",
    [
        "true",
        "24",
        '"24"',
        "[24]",
        '{"reuse_hours": -1}',
        '{"reuse_hours": 1e9}',
        '{"reuse_hours": "always"}',
        '{"reuse_days": 1}',
    ],
)
def test_what_is_no_such_statement_is_refused(stated, tmp_path):
    (tmp_path / "mine.rego").write_text(f"{HEAD}verification := {stated}\n")
    with pytest.raises(ConfigError):
        Policy.load(tmp_path / "mine.rego")


def test_a_statement_that_depends_on_the_evidence_is_none(tmp_path):
    """It is asked for before there is any."""
    (tmp_path / "mine.rego").write_text(HEAD + 'verification := {"reuse_hours": 24} if input.claims')
    assert Policy.load(tmp_path / "mine.rego").reuse_hours is None


def test_a_policy_sees_what_was_not_read_again():
    body = 'checks contains {"rule": "r", "verdict": "FAIL", "reason": "stale"} if input.verification.reused > 0'
    assert checks(body, {"verification": {"files": 4, "reused": 1}})[0].verdict == "FAIL"
    assert checks(body, {"verification": {"files": 4, "reused": 0}})[0].verdict == "INCONCLUSIVE"
