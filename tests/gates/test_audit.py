"""A policy may ask that its own decision is recorded: then nobody forgets it."""

import pytest

from martensite.artifacts.attest import Serving, Subject
from martensite.artifacts.attest.bom import make_bom
from martensite.artifacts.attest.claims import append_claim, make_claim
from martensite.artifacts.attest.predicates import Approval, Release
from martensite.artifacts.audit import AuditLog, audit
from martensite.artifacts.audit.versions import model_versions, read_details
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Keyring, PrivateKey, Trust, sign_model
from martensite.gates.decide import decide
from martensite.gates.policy import Policy

WORDS = "a passphrase of words"
POLICY = "require:\n  release: {}\n  audit: {}\n"


@pytest.fixture
def asked(digits_run, tmp_path):
    """What `decide` takes: a signed bundle with a release claim, and a policy that asks for both."""
    import shutil

    bundle, ring = tmp_path / "model", Keyring(tmp_path / "keys")
    shutil.copytree(digits_run / "model", bundle)
    trust = Trust().with_record(ring.new("rel", WORDS))
    sign_model(bundle, ring, WORDS)
    line = make_claim(Subject.of(bundle), Release(created=now(), name="digits", version=1), ring.private(WORDS))
    append_claim(tmp_path / "claims.jsonl", line, bundle=bundle)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return bundle, Policy.load(str(tmp_path / "policy.yaml")), tmp_path / "claims.jsonl", trust


def test_claims_are_recorded_by_kind(asked, tmp_path):
    bundle, key = asked[0], PrivateKey.new()
    with audit(tmp_path / "a.db"):
        subject = Subject.of(bundle)
        make_claim(subject, Release(created=now(), name="digits", version=3), key)
        make_claim(subject, Approval(created=now(), reason="read the report"), key)
        make_bom(bundle)
    with AuditLog(tmp_path / "a.db") as log:
        found = [one for one in log.read() if one.outcome != "begun"]
        (version,) = model_versions(log.read())
    assert [one.action for one in found] == ["open", "load", "attest", "approve", "bom"]
    assert {one.subject for one in found[1:]} == {f"sha256:{subject.model}"}
    assert read_details(found[3])["reason"] == "read the report"
    assert read_details(found[3])["key"] == key.public.id
    assert version.release == "digits 3"


def test_unrecorded_nothing_passes(asked):
    verdict = decide(*asked)
    assert verdict.verdict == "FAIL"
    assert [check.reason for check in verdict.checks if check.verdict != "PASS"] == [
        "this decision is recorded in no audit log: give --audit"
    ]


def test_recorded_it_passes_and_is_there(asked, tmp_path):
    with audit(tmp_path / "a.db"):
        assert decide(*asked).verdict == "PASS"
        (asked[0] / "card.md").write_text("changed")
        assert decide(*asked, serving=Serving(dtype="float32")).verdict == "FAIL"
    with AuditLog(tmp_path / "a.db") as log:
        found = [one for one in log.read(actions=["gate"]) if one.outcome != "begun"]
    assert [one.outcome for one in found] == ["PASS", "FAIL"]
    assert found[0].subject == found[1].subject != ""
    assert read_details(found[1])["not_passed"] == ["signature"]
