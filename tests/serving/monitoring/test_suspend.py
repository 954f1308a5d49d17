"""A suspension takes a model out everywhere, and only an approval that names it brings it back."""

import json
import time
from datetime import timedelta
from types import SimpleNamespace

import jsonschema
import pytest
import torch

from martensite.artifacts.attest import Subject, acceptable, append_claim, make_claim, predicate_of, read_claims
from martensite.artifacts.audit import AuditLog
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Keyring, Trust
from martensite.core.errors import ArtifactError, ConfigError
from martensite.gates.decide import decide
from martensite.gates.policy import Policy
from martensite.gates.short_form import Waiver
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.monitoring.suspend import Suspend, Suspender

WORDS = "a passphrase of words"


@pytest.fixture
def court(here):
    """The bundle `one` before a gate that trusts a monitor's key, too; ``claim(kind, key, **given)``, ``judge()``."""
    ring, home = Keyring(here.folder / "more"), here.folder / "more"
    owners = {"watch": ("monitor", "Wally"), "ann": ("approver", "Ann"), "rex": ("approver", "Rex"), "eva": ("evaluator", "Eva"),
              "stranger": ("monitor", "Tom")}  # fmt: skip
    trust = Trust.from_yaml(here.trust)
    for name, (role, owner) in owners.items():
        ring.new(name, WORDS, role=role, owner=owner)
        if name != "stranger":
            trust = trust.with_record(ring.record(name))
    trust.save(here.trust)
    (home / "passphrase").write_text(WORDS + "\n")
    claims = here.folder / "one.claims.jsonl"
    subject = Subject.of(here.one)

    def claim(kind, key, moment=None, **given):
        line = make_claim(subject, predicate_of(kind, subject, None, given, moment or now()), ring.private(WORDS, key))
        append_claim(claims, line, bundle=here.one)
        from martensite.core.files import sha256

        return sha256(line.encode())

    def judge(**how):
        policy = Policy.load(here.folder / "policy.yaml")
        return decide(here.one, policy, claims, trust, **how)

    settings = {"alerts": ["MartensiteAttack"], "key": "watch", "home": str(home), "passphrase_file": str(home / "passphrase")}
    return SimpleNamespace(claim=claim, judge=judge, settings=settings, claims=claims, home=home, ring=ring, here=here)


class TestGate:
    def test_a_suspension_fails_whatever_the_policy_says(self, court):
        assert court.judge().verdict == "PASS"
        court.claim("suspension", "watch", reason="an attack")
        verdict = court.judge()
        assert verdict.verdict == "FAIL"
        assert [(one.rule, one.verdict) for one in verdict.checks if one.verdict != "PASS"] == [("suspension", "FAIL")]
        assert "Wally: an attack" in next(one.reason for one in verdict.checks if one.rule == "suspension")

    def test_it_fits_its_schema(self, court):
        from martensite.artifacts.attest.schemas import shipped

        court.claim("suspension", "watch", reason="an attack", alert="MartensiteAttack f1")
        found = acceptable(
            read_claims(court.claims, Subject.of(court.here.one), Trust.from_yaml(court.here.trust), now()), "suspension"
        )
        jsonschema.validate(found[0].predicate.model_dump(mode="json"), json.loads(shipped("suspension")))

    def test_no_waiver_helps(self, court):
        with pytest.raises(ConfigError, match="always holds"):
            Waiver(rule="suspension", owner="Bob", reason="hurry", expires=now() + timedelta(days=1))

    @pytest.mark.parametrize("key", ["eva", "stranger"])
    def test_who_may_not_suspend_changes_nothing(self, court, key):
        court.claim("suspension", key, reason="spite")
        assert court.judge().verdict == "PASS"

    def test_an_approver_may(self, court):
        court.claim("suspension", "ann", reason="I was wrong")
        assert court.judge().verdict == "FAIL"

    def test_an_approval_ends_it_by_name_alone(self, court):
        digest = court.claim("suspension", "watch", reason="an attack")
        court.claim("approval", "ann", reason="all is well", moment=now() + timedelta(minutes=4))
        assert court.judge().verdict == "FAIL"  # a clock that is ahead ends nothing
        court.claim("approval", "ann", reason="all is well", resumes=["0" * 64])
        assert court.judge().verdict == "FAIL"
        court.claim("approval", "ann", reason="the client is blocked", resumes=[digest])
        verdict = court.judge()
        assert verdict.verdict == "PASS"
        assert ("suspension", "PASS") in [(one.rule, one.verdict) for one in verdict.checks]

    def test_a_second_suspension_needs_an_end_of_its_own(self, court):
        first = court.claim("suspension", "watch", reason="an attack")
        court.claim("approval", "ann", reason="blocked", resumes=[first])
        court.claim("suspension", "watch", reason="another attack")
        assert court.judge().verdict == "FAIL"

    def test_who_asked_for_the_release_ends_nothing(self, court):
        digest = court.claim("suspension", "watch", reason="an attack")
        court.claim("approval", "rex", reason="ship it", resumes=[digest])
        assert court.judge().verdict == "FAIL"


class TestSuspender:
    def test_the_key_is_checked_at_the_start(self, court):
        Suspender(Suspend.parse(court.settings))
        with pytest.raises(ConfigError, match="role evaluator"):
            Suspender(Suspend.parse({**court.settings, "key": "eva"}))
        with pytest.raises(ConfigError, match="nobody"):
            Suspender(Suspend.parse({**court.settings, "key": "nobody"}))
        (court.home / "wrong").write_text("something else\n")
        with pytest.raises(ArtifactError):
            Suspender(Suspend.parse({**court.settings, "passphrase_file": str(court.home / "wrong")}))


def message(status="firing", name="MartensiteAttack", **labels):
    alert = {
        "status": status,
        "labels": {"alertname": name, "model": "tiny", "severity": "critical", **labels},
        "annotations": {"summary": "detectors ring too often"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "f1",
    }
    return {"version": "4", "status": status, "receiver": "server", "alerts": [alert]}


@pytest.fixture
def guarded(court, served):
    """A server that suspends on alerts, and asks for keys; ``post(document)``."""
    token, digest = new_secret("am")
    user, second = new_secret("user")
    path = court.here.folder / "keys.yaml"
    keys = (ApiKey(name="am", hashes=(digest,), scopes=("alerts",)), ApiKey(name="user", hashes=(second,)))
    Keys(keys=keys).save(path)

    def make(**changes):
        server = served(monitoring={"suspend": court.settings}, access={"keys": str(path)}, **changes)
        user_head = {"Authorization": f"Bearer {user}"}
        server.ask = lambda: server.infer(torch.zeros(1, 1, 4, 4), headers=user_head).status_code
        server.send = lambda document, bearer=token: server.post(
            "/v1/alerts", json=document, headers={"Authorization": f"Bearer {bearer}"}
        )
        server.user = user
        return server

    return make


class TestWebhook:
    def test_an_alert_takes_the_model_out_here_and_elsewhere(self, court, guarded, served):
        server, other = guarded(), served()
        assert server.ask() == 200
        assert server.send(message()).json() == {"outcomes": ["suspended"]}
        assert server.ask() == 503
        shown = server.fleet.live.snapshot()
        assert shown.models[0].versions[0].evidence.suspended
        assert (shown.alerts[0].name, shown.alerts[0].outcome) == ("MartensiteAttack", "suspended")
        # Another server reads the same claims, as its watch does every second.
        for watched in other.fleet._watches:
            watched.look(False)
        assert other.infer(torch.zeros(1, 1, 4, 4)).status_code == 503
        assert "suspended on" in other.fleet.reasons["tiny"]

    def test_it_comes_back_after_an_approval_and_the_same_alert_does_not_take_it_out_again(self, court, guarded):
        server = guarded()
        server.send(message())
        from martensite.artifacts.attest.claims import unverified

        ((digest, _),) = unverified(court.claims.read_bytes(), "suspension")
        court.claim("approval", "ann", reason="blocked", resumes=[digest])
        server.fleet._watches[0].look(False)
        assert server.ask() == 200
        assert server.send(message()).json() == {"outcomes": ["suspended before for this alert"]}
        assert server.ask() == 200

    def test_deleting_the_claim_does_not_bring_it_back(self, court, guarded):
        before = court.claims.read_bytes()
        server = guarded()
        server.send(message())
        time.sleep(0.01)
        court.claims.write_bytes(before)
        server.fleet._watches[0].look(False)
        assert server.ask() == 503

    @pytest.mark.parametrize(
        ("document", "outcome"),
        [
            (message("resolved"), "noted"),
            (message(name="MartensiteSlow"), "noted"),
            (message(model="other"), "noted: no such version is served"),
            (message(digest="sha256:" + "0" * 64), "noted: no such version is served"),
        ],
    )
    def test_other_alerts_suspend_nothing(self, guarded, document, outcome):
        server = guarded()
        assert server.send(document).json() == {"outcomes": [outcome]}
        assert server.ask() == 200

    def test_only_keys_for_alerts_may(self, guarded):
        server = guarded()
        assert server.send(message(), bearer=server.user).status_code == 403
        assert server.send(message(), bearer="nothing").status_code == 401
        assert server.ask() == 200

    @pytest.mark.parametrize("document", [{}, {"alerts": [{}]}, {"alerts": [{"status": "odd", "labels": {}}]}, []])
    def test_other_documents_are_refused(self, guarded, document):
        assert guarded().send(document).status_code == 400

    def test_without_keys_nobody_may(self, served):
        assert served().post("/v1/alerts", json=message()).status_code == 403

    def test_claims_that_cannot_be_written_are_loud(self, court, guarded, caplog):
        server = guarded()
        court.claims.unlink()
        court.claims.mkdir()
        assert server.send(message()).json()["outcomes"][0].startswith("NOT SUSPENDED")
        assert "NOT SUSPENDED" in caplog.text

    def test_a_strangers_claim_does_not_stand_for_an_alert(self, court, guarded):
        """Who can write the claims and knows when an alert began could else keep it from suspending."""
        court.claim("suspension", "stranger", reason="spite", alert="MartensiteAttack f1 since 2026-01-01T00:00:00Z")
        server = guarded()
        assert server.ask() == 200
        assert server.send(message()).json() == {"outcomes": ["suspended"]}
        assert server.ask() == 503

    def test_a_key_that_this_server_does_not_trust_is_loud(self, court, guarded, caplog):
        """The claim is written, and counts for nothing: nobody may be told that the model is suspended."""
        court.settings["key"] = "stranger"
        server = guarded()
        (outcome,) = server.send(message()).json()["outcomes"]
        assert outcome.startswith("NOT SUSPENDED")
        assert "trust.yaml" in caplog.text
        assert server.ask() == 200

    @pytest.mark.parametrize("summary", ["fine", "a\x00b", "one\nERROR martensite.serving two\x1b[2J"], ids=repr)
    def test_it_is_in_the_audit_log(self, court, guarded, caplog, summary):
        place = court.here.folder / "audit.db"
        server = guarded(audit={"log": str(place)})
        document = message()
        document["alerts"][0]["annotations"]["summary"] = summary
        assert server.send(document).json() == {"outcomes": ["suspended"]}
        assert server.ask() == 503
        assert all(one.getMessage().isprintable() for one in caplog.records)
        server.fleet.close()
        with AuditLog(str(place)) as log:
            found = [one for one in log.read() if one.action == "suspend"]
        assert [(one.outcome, one.name) for one in found] == [("done", "tiny")]
