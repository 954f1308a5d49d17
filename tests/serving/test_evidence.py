"""Only what verifies is served: each way of cheating has its reason, before loading and while it serves."""

import asyncio
import os
import shutil
import threading
from datetime import timedelta

import pytest
import torch

from martensite.artifacts.bundle import load_bundle
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Trust
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, SignatureError
from martensite.serving import Fleet
from martensite.serving import fleet as fleet_module
from martensite.serving import loaded as loading
from martensite.serving.evidence import Case


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def revoke(here, owner="Rex"):
    trust = Trust.from_yaml(here.trust)
    changed = [one.model_copy(update={"revoked": now()}) if one.owner == owner else one for one in trust.keys]
    Trust(keys=tuple(changed)).save(here.trust)


def test_a_bundle_with_everything_serves_its_own_logits(served, here, x):
    server = served(model={"output": {"scores": "logits"}})
    answer = server.infer(x).json()
    found = torch.tensor(answer["outputs"][0]["data"]).view(5, 3)
    torch.testing.assert_close(found, here.model(x))
    assert answer["model_version"] == "1"
    assert server.get("/v2/health/ready").json() == {"ready": True, "reasons": {}}
    assert server.recorder.changes[0].verdict["verdict"] == "PASS"


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "card.md"])
def test_a_byte_of_any_file_ends_the_server_with_the_reason(here, name):
    flip(here.one / name)
    with pytest.raises(SignatureError, match=f"{name} was altered"):
        Fleet(here.config()).load()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda here: here.one.with_name("one.sig").unlink(), "one.sig can't be read"),
        (lambda here: here.one.with_name("one.claims.jsonl").unlink(), "one.claims.jsonl can't be read"),
        (lambda here: here.one.with_name("one.claims.jsonl").write_text(""), "FAIL: approval: .*; release: "),
        (lambda here: (here.one / "more.txt").write_text("x"), "more.txt is not signed"),
        (lambda here: here.yard.prove(here.one, key="thief", claims=False), "unknown"),
        (revoke, "revoked"),
        (lambda here: here.trust.write_text("keys: []"), "unknown"),
        (lambda here: (here.folder / "policy.yaml").write_text("require: {scan: {}}"), "scan"),
        (lambda here: shutil.copy(here.two.with_name("two.claims.jsonl"), here.one.with_name("one.claims.jsonl")), "other files"),
    ],
    ids=["no signature", "no claims", "empty claims", "a file more", "thief", "revoked", "trusts nobody", "policy", "others'"],
)
def test_what_is_not_proven_is_not_served(here, harm, reason):
    harm(here)
    with pytest.raises(MartensiteError, match=reason):
        Fleet(here.config()).load()


def test_old_evidence_is_none(here):
    here.yard.bundle(here.folder / "old", 3, age=31)
    with pytest.raises(SignatureError, match=r"release\.max_age_days"):
        Fleet(here.config(model={"bundle": str(here.folder / "old")})).load()


def test_a_port_may_be_open_and_not_ready(served, here, x):
    flip(here.one / "model.safetensors")
    server = served(fail="open-port")
    ready = server.get("/v2/health/ready")
    assert ready.status_code == 503
    assert "was altered" in ready.json()["reasons"]["tiny"]
    assert server.get("/v2/health/live").status_code == 200
    answer = server.infer(x)
    assert answer.status_code == 503
    assert "was altered" in answer.json()["error"]
    for malformed in (b"", b"{", b"{}", b'{"inputs": null}'):
        answer = server.post("/v2/models/tiny/infer", content=malformed)
        assert answer.status_code == 503
        assert "was altered" in answer.json()["error"]
    assert server.get("/v2/models/tiny").status_code == 503


def test_bytes_changed_between_verification_and_load_are_not_served(here, x, monkeypatch, fleets):
    """An attacker who swaps the bundle at the worst moment changes nothing: what is loaded is a private copy."""
    original = here.model(x)
    real = loading.load_bundle

    def attacked(path):
        here.put(here.two)
        return real(path)

    monkeypatch.setattr(loading, "load_bundle", attacked)
    fleet = fleets(here.config())
    served = fleet.slot("tiny").pick().loaded
    torch.testing.assert_close(torch.from_numpy(served.backend(x.numpy()).logits), original)
    assert served.version == "1"


def test_a_copy_that_is_changed_all_the_same_is_noticed(here, monkeypatch):
    """Even who can write the private copy has to give the very model that was verified."""
    real = loading.load_bundle

    def attacked(path):
        shutil.rmtree(path)
        shutil.copytree(here.two, path)
        return real(path)

    monkeypatch.setattr(loading, "load_bundle", attacked)
    with pytest.raises(ArtifactError, match="changed while it was loaded"):
        Fleet(here.config()).load()


def test_the_private_copy_is_private_and_goes_away(here, fleets):
    fleet = fleets(here.config())
    sealed = fleet.slot("tiny").pick().loaded.sealed
    assert sealed.folder.stat().st_mode & 0o777 == 0o700
    assert not sealed.bundle.exists()  # it is in memory
    fleet.close()
    assert not sealed.folder.exists()


def test_a_link_in_a_bundle_is_not_followed(here, tmp_path):
    (here.one / "card.md").unlink()
    (here.one / "card.md").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="link"):
        Fleet(here.config()).load()


# While it serves


def looked(server):
    for watched in server.fleet._watches:
        watched.look(asked=False)


def test_a_key_that_is_revoked_takes_the_model_out_and_a_new_trust_puts_it_back(served, here, x):
    server = served()
    before = here.trust.read_text()
    revoke(here)
    looked(server)
    answer = server.infer(x)
    assert answer.status_code == 503
    assert "revoked" in answer.json()["error"]
    assert server.get("/v2/health/ready").status_code == 503
    assert [one.state for one in server.recorder.changes] == ["serving", "out"]
    here.trust.write_text(before)
    looked(server)
    assert server.infer(x).status_code == 200
    assert [one.state for one in server.recorder.changes] == ["serving", "out", "serving"]


@pytest.mark.parametrize("harm", ["revoke", "break the claims"])
def test_nobody_is_told_where_the_private_copy_is(served, here, x, harm):
    server = served()
    (line,) = server.fleet.slots["tiny"].lines.values()
    if harm == "revoke":
        revoke(here)
        expected = str(here.one)
    else:
        line.loaded.sealed.claims.unlink()
        line.loaded.sealed.claims.mkdir()
        os.utime(here.trust)
        expected = str(here.one) + ".claims.jsonl"
    looked(server)
    for answer in (server.get("/v2/health/ready"), server.infer(x), server.get("/v2/models/tiny/ready")):
        assert answer.status_code == 503
        assert str(line.loaded.sealed.folder) not in answer.text
        assert expected in answer.text
    assert str(line.loaded.sealed.folder) not in str(line.loaded.record)


def test_evidence_that_expires_takes_the_model_out(served, here, x, monkeypatch):
    server = served(model={"evidence": {**here.evidence, "recheck": 1e-6}})
    assert server.infer(x).status_code == 200
    from martensite.gates import decide

    monkeypatch.setattr(decide, "this_moment", lambda: now() + timedelta(days=31))
    looked(server)
    answer = server.infer(x)
    assert answer.status_code == 503
    assert "max_age_days" in answer.json()["error"]


def test_a_policy_that_becomes_stricter_takes_the_model_out(served, here, x):
    server = served()
    (here.folder / "policy.yaml").write_text("require: {release: {}, approval: {people: 2}}")
    looked(server)
    assert "approval" in server.infer(x).json()["error"]


def test_evidence_that_cannot_be_read_any_more_takes_the_model_out(served, here, x):
    server = served()
    here.one.with_name("one.claims.jsonl").unlink()
    looked(server)
    assert server.infer(x).status_code == 503


def test_evidence_that_a_judge_stumbles_over_takes_the_model_out(served, here, x, monkeypatch):
    server = served()

    def stumble(*args, **kwargs):
        raise RecursionError("too deep")

    monkeypatch.setattr(Case, "judge", stumble)
    server.fleet.slot("tiny").judge_again("primary")
    answer = server.infer(x)
    assert answer.status_code == 503
    assert "too deep" in answer.json()["error"]
    shown = server.get("/metrics").text
    assert 'martensite_verdict{model="tiny",route="primary",verdict="PASS"} 0.0' in shown
    assert 'martensite_verdict{model="tiny",route="primary",verdict="INCONCLUSIVE"} 1.0' in shown
    assert "too deep" in server.fleet.slot("tiny").lines["primary"].loaded.record["checks"][-1]["reason"]
    monkeypatch.undo()
    server.fleet.slot("tiny").judge_again("primary")
    assert 'martensite_verdict{model="tiny",route="primary",verdict="PASS"} 1.0' in server.get("/metrics").text
    assert server.infer(x).status_code == 200


def test_an_older_verdict_does_not_replace_a_newer_one(served, here, x, monkeypatch):
    """One judge has read the evidence as it was and is slow; meanwhile it is revoked, and an alert has it judged anew."""
    server = served()
    slot, judge, read, go_on = server.fleet.slot("tiny"), Case.judge, threading.Event(), threading.Event()

    def slow(self, sealed, subject):
        verdict = judge(self, sealed, subject)
        if threading.current_thread() is first:
            read.set()
            go_on.wait(30)
        return verdict

    monkeypatch.setattr(Case, "judge", slow)
    first = threading.Thread(target=slot.judge_again, args=("primary",))
    first.start()
    read.wait(30)
    revoke(here)
    second = threading.Thread(target=slot.judge_again, args=("primary",))
    second.start()
    second.join(1.0)  # it would be through by now, if it didn't wait for the first
    go_on.set()
    first.join(30)
    second.join(30)
    assert "revoked" in slot.reason


def test_what_one_model_stumbles_over_keeps_no_other_from_being_judged(served, here, x, monkeypatch):
    """The watch looks at all of them in turn."""
    other = {"name": "other", "bundle": str(here.two), "evidence": here.evidence}
    server = served(more=[other])
    monkeypatch.setattr(fleet_module, "TICK", 0.01)
    looks = []

    def look(self, asked):
        looks.append(self.slot.name)
        if self.slot.name == "tiny":
            raise RuntimeError("it is broken")

    monkeypatch.setattr(fleet_module._Watched, "look", look)

    async def some_time():
        watch = asyncio.create_task(server.fleet.watch())
        while "other" not in looks and len(looks) < 5:
            await asyncio.sleep(0.01)
        watch.cancel()

    asyncio.run(some_time())
    assert "other" in looks


def test_lines_deleted_from_the_claims_were_still_seen(served, here, x):
    """Who can delete lines can't undo what a server saw: claims only grow."""
    server = served()
    loaded = server.fleet.slot("tiny").pick().loaded
    before = loaded.sealed.claims.read_bytes()
    here.one.with_name("one.claims.jsonl").write_text("\n")
    assert loaded.judge_again() == ""
    assert loaded.sealed.claims.read_bytes() == before


def test_claims_that_are_written_anew_again_and_again_fill_no_memory(served, here, x, monkeypatch):
    server = served()
    sealed, claims = server.fleet.slot("tiny").pick().loaded.sealed, here.one.with_name("one.claims.jsonl")
    monkeypatch.setattr("martensite.serving.sealed.LARGEST_CLAIMS", 10_000)
    proven = claims.read_bytes()
    for turn in range(20):
        claims.write_bytes(proven + b"".join(b"%d %d\n" % (turn, line) for line in range(100)))
        server.fleet.slot("tiny").judge_again("primary")
    assert sealed.claims.stat().st_size < 10_200
    assert "too many claims" in server.infer(x).json()["error"]


# A new version


def test_a_new_version_takes_over(served, here, x):
    server = served(model={"output": {"scores": "logits"}})
    here.put(here.two)
    looked(server)  # the files have changed: perhaps they are still being written
    assert server.infer(x).json()["model_version"] == "1"
    looked(server)
    answer = server.infer(x).json()
    assert answer["model_version"] == "2"
    torch.testing.assert_close(torch.tensor(answer["outputs"][0]["data"]).view(5, 3), load_bundle(here.two)(x))
    assert [(one.state, one.version) for one in server.recorder.changes] == [("serving", "1"), ("serving", "2"), ("retired", "1")]


def test_a_bad_version_leaves_the_old_one_serving(served, here, x):
    server = served()
    here.put(here.two)
    flip(here.one / "model.safetensors")
    for _ in range(3):
        looked(server)
    assert server.infer(x).json()["model_version"] == "1"
    assert server.get("/v2/health/ready").status_code == 200
    states = [one.state for one in server.recorder.changes]
    assert states[:2] == ["serving", "refused"]
    assert states.count("refused") == 1  # not once a second


def test_a_corrupted_bundle_that_is_mended_is_loaded(served, here, x):
    server = served()
    here.put(here.two)
    flip(here.one / "model.safetensors")
    for _ in range(2):
        looked(server)
    flip(here.one / "model.safetensors")
    for _ in range(2):
        looked(server)
    assert server.infer(x).json()["model_version"] == "2"


def test_old_requests_finish_on_the_old_version(served, here, x):
    server = served()
    old = server.fleet.slot("tiny").pick()
    entered, go = threading.Event(), threading.Event()
    real = old.loaded.backend

    def slow(rows):
        entered.set()
        assert go.wait(30)
        return real(rows)

    old.loaded.backend = slow
    waiting = server.portal.start(server.portal.client.post("/v2/models/tiny/infer", json={"inputs": [{"name": "input",
        "datatype": "FP32", "shape": [1, 1, 4, 4], "data": [0.5] * 16}]}))  # fmt: skip
    assert entered.wait(30)
    here.put(here.two)
    loader = threading.Thread(target=lambda: server.fleet._watches[0].load())
    loader.start()
    while server.fleet.slot("tiny").pick() is old:
        loader.join(0.02)
    assert server.infer(x).json()["model_version"] == "2"  # new requests are answered while the old one still computes
    go.set()
    assert waiting.result(30).json()["model_version"] == "1"
    loader.join(30)
    assert not loader.is_alive()


def test_an_older_version_is_no_new_one(served, here, x):
    versions = str(here.folder / "versions.json")
    server = served(model={"bundle": str(here.two), "evidence": {**here.evidence, "versions": versions}})
    here.put(here.one, here.two)
    for _ in range(2):
        looked(server)
    assert server.infer(x).json()["model_version"] == "2"
    assert "an older one" in server.recorder.changes[-1].reason


def test_the_servers_own_record_of_versions_is_no_news(served, here, x, monkeypatch):
    versions = here.folder / "versions.json"
    server = served(model={"evidence": {**here.evidence, "versions": str(versions)}})
    (slot,), judged = server.fleet.slots.values(), []
    judge = slot.judge_again
    monkeypatch.setattr(slot, "judge_again", lambda route: (judged.append(route), judge(route)))
    before = versions.stat()
    for _ in range(3):
        looked(server)
    assert judged == []  # not before recheck
    judge("primary")
    assert (versions.stat().st_mtime_ns, versions.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    here.put(here.two)
    for _ in range(4):
        looked(server)
    assert server.infer(x).json()["model_version"] == "2"
    assert judged == ["primary"]  # for the new claims, before the bundle had settled
    versions.write_text('{"tiny": {"version": 9, "digest": "x"}}')  # another's writing is
    looked(server)
    assert judged == ["primary", "primary"]
    assert "an older one" in server.infer(x).json()["error"]


def test_a_replay_is_refused_once_however_often_all_is_judged(served, here, x):
    versions = str(here.folder / "versions.json")
    evidence = {**here.evidence, "versions": versions, "recheck": 1e-6}
    server = served(model={"bundle": str(here.two), "evidence": evidence})
    here.put(here.one, here.two)
    for _ in range(6):
        looked(server)
    assert server.infer(x).json()["model_version"] == "2"
    assert [one.state for one in server.recorder.changes].count("refused") == 1


def test_reload_when_asked_only(served, here, x):
    server = served(model={"reload": "asked"})
    here.put(here.two)
    for _ in range(3):
        looked(server)
    assert server.infer(x).json()["model_version"] == "1"
    server.portal.start(server.fleet.reload("tiny")).result(30)
    assert server.infer(x).json()["model_version"] == "2"


# Development


def test_evidence_is_waived_by_an_explicit_choice_on_this_machine_only(served, here, x):
    here.one.with_name("one.sig").unlink()
    server = served(insecure_no_evidence=True)
    answer = server.infer(x).json()
    assert answer["model_version"] == server.get("/v2/models/tiny").json()["parameters"]["digest"][7:19]
    assert "development" in server.get("/v2/models/tiny").json()["parameters"]["evidence"]
    with pytest.raises(ConfigError, match="for development"):
        here.config(insecure_no_evidence=True, host="0.0.0.0", access={"open": True})


def test_a_bundle_that_is_refused_while_another_serves_is_told_by_its_own_name(served, here, caplog):
    client = served()
    flip(here.one / "model.safetensors")
    (watched,) = client.fleet._watches
    watched.look(True)
    assert client.fleet.slots["tiny"].reason == ""
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert str(here.one / "model.safetensors") in line
    assert "martensite-serve-" not in line
    (model,) = client.fleet.live.snapshot().models
    assert [one.mark for one in model.standing.reasons][:2] == ["PASS", "REFUSED"]
