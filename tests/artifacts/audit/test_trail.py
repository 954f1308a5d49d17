"""What the library does is recorded: with digests that lead from data to model to files to verdict."""

import sqlite3

import pytest
import torch
from torch import nn

import martensite as mt
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.served import loaded, requested, serving
from martensite.artifacts.audit.trail import Trail, audit
from martensite.artifacts.audit.versions import data_accesses, model_versions, read_details
from martensite.artifacts.convert import convert
from martensite.artifacts.signing import Keyring, sign_model
from martensite.artifacts.stated import stated_digest
from martensite.core.acts import Act
from martensite.core.errors import ConfigError, StorageError
from martensite.core.files import sha256
from martensite.models.digest import model_digest
from martensite.training.sweep import SweepPlan, grid, sweep

WORDS = "a passphrase of words"


@pytest.fixture(autouse=True)
def nobody_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("MARTENSITE_AUDIT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_from_data_to_signature(tmp_path):
    with mt.audit(tmp_path / "a.db", actor="ada", purpose="a test") as trail:
        data = mt.load_data("digits", "train", limit=60)
        threat = mt.ThreatModel(norm="linf", eps=0.05)
        model = mt.build(mt.models.MLP(hidden=(8,)), data.shape, data.classes, box=data.box, seed=0)
        base = mt.train(model, data, epochs=1).model
        hard = mt.harden(base, data, threat, objective="fgsm_at", epochs=1).model
        mt.evaluate(hard, data, threat, suite=mt.evaluation.Suite(name="one", attacks=(mt.attacks.FGSM(),)))
        mt.certify(hard, data.x[:2], data.y[:2], mt.certification.IntervalBounds(), threat=threat)
        mt.attack(mt.attacks.FGSM(), hard, data.x[:5], data.y[:5], threat)
        mt.save_bundle(hard, tmp_path / "hard", threat=threat)
        Keyring(tmp_path / "keys").new("rel", WORDS)
        sign_model(tmp_path / "hard", Keyring(tmp_path / "keys"), WORDS)
        mt.load_bundle(tmp_path / "hard")
        mt.scan(tmp_path / "hard")
        trail.note("deploy", "model", model_digest(hard), "hard", {"to": "edge"})
    with AuditLog(tmp_path / "a.db") as log:
        found = list(log.read())
    words = [(one.action, one.outcome) for one in found if one.outcome != "begun"]
    done = ("open", "access", "train", "harden", "evaluate", "certify", "attack", "save", "key", "sign", "load")
    assert words == [*((word, "done") for word in done), ("scan", "clean"), ("deploy", "done")]
    by = {one.action: one for one in found}
    assert {one.actor for one in found[1:]} == {"ada"}
    assert {one.purpose for one in found[1:]} == {"a test"}
    assert by["access"].subject == data.digest
    assert read_details(by["train"])["data"] == data.digest
    assert read_details(by["harden"])["from"] == by["train"].subject == model_digest(base)
    hardened = model_digest(hard)
    assert {by[word].subject for word in ("harden", "evaluate", "certify", "attack", "save", "load")} == {hardened}
    assert by["sign"].kind == "files"
    assert read_details(by["sign"])["model"] == hardened
    assert WORDS not in "".join(one.details for one in found)
    begun = [one.action for one in found if one.outcome == "begun"]
    assert begun == ["train", "harden", "evaluate", "certify", "save", "sign"]
    first, second = (one for one in model_versions(found) if one.action in ("train", "harden"))
    assert (second.parent, second.author, second.name) == (first.model, "ada", "hard")
    assert "threat linf eps 0.05" in second.changes
    assert [step[2] for step in second.history] == ["evaluate", "certify", "attack", "save", "sign", "load", "deploy"]
    (access,) = data_accesses(found)
    assert (access.data, access.actor, access.purpose) == (data.digest, "ada", "a test")


def test_nothing_is_written_where_nobody_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mt.load_data("digits", limit=20)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no audit log is named"), audit():
        pass


def test_the_environment_says_where_and_who(tmp_path, monkeypatch):
    monkeypatch.setenv("MARTENSITE_AUDIT", str(tmp_path / "a.db"))
    monkeypatch.setenv("MARTENSITE_ACTOR", "ci")
    with audit():
        mt.load_data("digits", limit=20)
    with AuditLog(tmp_path / "a.db") as log:
        assert [(one.action, one.actor) for one in log.read()] == [("open", "ci"), ("access", "ci")]


def test_what_failed_says_why(tmp_path):
    with audit(tmp_path / "a.db"), pytest.raises(mt.core.errors.MartensiteError):
        mt.load_data("nothing.npz")
    with AuditLog(tmp_path / "a.db") as log:
        *_, last = log.read()
    assert (last.action, last.outcome, last.name) == ("access", "failed", "nothing.npz")
    assert "doesn't exist" in read_details(last)["error"]


def test_access_that_cannot_be_recorded_is_refused(tmp_path, monkeypatch):
    with audit(tmp_path / "a.db") as trail:

        def full(entries):
            raise StorageError("the disk is full")

        monkeypatch.setattr(trail.log, "append", full)
        with pytest.raises(StorageError, match="full"):
            mt.load_data("digits", limit=20)
        monkeypatch.undo()


def test_work_that_was_done_is_not_lost_but_the_recording_fails(tmp_path, monkeypatch):
    with AuditLog(tmp_path / "a.db") as log:
        trail, append = Trail(log), log.append

        def full(entries):
            raise StorageError("the disk is full")

        monkeypatch.setattr(log, "append", full)
        trail.record(Act(action="train"), later=True)
        with pytest.raises(StorageError, match=r"train \(done\) could not be recorded"):
            trail.settle()
        monkeypatch.setattr(log, "append", append)
        trail.record(Act(action="sign"))
        trail.settle()
        assert [one.action for one in log.read()] == ["open", "train", "sign"]


def test_what_the_log_cannot_hold_is_cut(tmp_path):
    with AuditLog(tmp_path / "a.db") as log:
        trail = Trail(log, "x" * 2000)
        trail.record(
            Act("model", "unnamed:Box", "n\x00" * 2000, "o" * 2000, {"big": "y" * 10**6, "n": 1, "path": tmp_path}, "attack")
        )
        trail.record(Act("model", "", "absent", action="bom"))
        _, cut, absent = log.read()
    assert len(cut.name) == len(cut.purpose) == len(cut.outcome) == 1000
    assert (cut.kind, cut.subject) == (absent.kind, absent.subject) == ("", "")
    assert read_details(cut) == {"cut": True, "n": 1, "subject": "unnamed:Box", "path": str(tmp_path)}


def test_a_checkpoint_that_is_converted(tmp_path):
    architecture = mt.models.MLP(hidden=(4,))
    torch.save(architecture.module((1, 8, 8), 3).state_dict(), tmp_path / "old.pth")
    with audit(tmp_path / "a.db"):
        convert(tmp_path / "old.pth", tmp_path / "new", architecture, (1, 8, 8), 3)
    with AuditLog(tmp_path / "a.db") as log:
        _, begun, done = log.read()
    assert (begun.action, begun.outcome, done.action, done.name) == ("convert", "begun", "convert", "new")
    assert done.subject == stated_digest(tmp_path / "new")
    assert read_details(done)["source"] == sha256((tmp_path / "old.pth").read_bytes())
    (version,) = model_versions([done])
    assert version.parent == read_details(done)["source"]


def test_a_sweep_is_one_act(tmp_path):
    data, threat = mt.load_data("digits", "train", limit=100), mt.ThreatModel(norm="linf", eps=0.05)
    model = mt.build(mt.models.MLP(hidden=(4,)), data.shape, data.classes, box=data.box, seed=0)
    plan = SweepPlan(points=grid([0.04, 0.05], ["fgsm_at"], {}), epochs=1, rungs=1)
    with audit(tmp_path / "a.db"):
        result = sweep(plan, model, data, threat, tmp_path / "sweep")
    with AuditLog(tmp_path / "a.db") as log:
        _, *acts = log.read()
    assert [(one.action, one.outcome) for one in acts] == [("sweep", "begun"), ("sweep", "done")]
    assert acts[1].subject == model_digest(result.model)
    assert read_details(acts[1])["from"] == model_digest(model)


def test_a_black_box_is_recorded_by_name(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    box = mt.BlackBox(lambda x: net(torch.as_tensor(x)), classes=10)
    data = mt.load_data("digits", limit=20)
    suite = mt.evaluation.Suite(name="one", attacks=(mt.attacks.Square(queries=2),))
    with audit(tmp_path / "a.db"):
        mt.evaluate(box, data, mt.ThreatModel(norm="linf", eps=0.05), suite=suite)
    with AuditLog(tmp_path / "a.db") as log:
        *_, last = log.read()
    assert (last.action, last.outcome, last.subject) == ("evaluate", "done", "")
    assert read_details(last)["subject"].startswith("unnamed:")


def test_what_a_server_records(tmp_path):
    model = "sha256:" + "a" * 64
    with AuditLog(tmp_path / "a.db") as log:
        given = [
            loaded(model, "digits", configuration={"dtype": "float32"}),
            serving(model, "digits"),
            requested(model, b"[1, 2]", "200", name="client 7", details={"answer": "sha256:" + "b" * 64}),
            requested(model, b"[3]", "200", keep=True),
        ]
        *_, shown, kept = log.append(given)
        assert log.payload(shown.number) is None
        assert log.payload(kept.number) == b"[3]"
        assert len(list(log.read(subject=model))) == 4
        (version,) = model_versions(log.read())
        assert (version.action, [step[2] for step in version.history], version.requests) == ("load", ["load"], 2)


def test_details_that_are_no_json_are_survived(tmp_path):
    with AuditLog(tmp_path / "a.db") as log:
        log.append([loaded("sha256:" + "a" * 64, "digits")])
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("DROP TRIGGER audit_records_stay")
    connection.execute("UPDATE audit_records SET details = '{'")
    connection.commit()
    connection.close()
    with AuditLog(tmp_path / "a.db") as log:
        assert [read_details(one) for one in log.read()] == [{}, {}]
        assert len(model_versions(log.read())) == 1
