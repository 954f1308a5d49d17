"""martensite audit, and --audit on the other commands."""

import json
import sqlite3
import subprocess
import sys

import pytest

WORDS = "a passphrase of words"


@pytest.fixture
def shop(tmp_path, monkeypatch, call):
    """A folder with a model, a release key and an auditor's key, and a log in which its signing is recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MARTENSITE_AUDIT", raising=False)
    monkeypatch.delenv("MARTENSITE_ACTOR", raising=False)
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", WORDS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("weights")
    call("keys", "new", "rel")
    call("keys", "new", "aud", "--role", "auditor")
    call("keys", "export", "aud", "--trust", "trust.yaml")
    call("keys", "export", "rel", "--out", "rel.pub")
    assert call("sign", "model", "--key", "rel", "--audit", "audit.db").code == 0
    return tmp_path


@pytest.fixture
def tamper(shop):
    def run(statement):
        connection = sqlite3.connect(shop / "audit.db")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()
        connection.close()

    return run


def records(call_json, *words):
    return call_json("audit", "log", "--audit", "audit.db", *words).document["records"]


def test_nothing_is_written_unasked(shop, call):
    before = {path.name for path in shop.iterdir()}
    assert call("verify", "model", "--key", "rel.pub").code == 0
    assert {path.name for path in shop.iterdir()} == before


@pytest.mark.parametrize("words", [["--audit", "audit.db"], ["--audit=audit.db"], ["--audit", "sqlite:///audit.db"]])
def test_a_command_is_recorded_where_it_is_asked(words, shop, call, call_json):
    assert call(*words, "verify", "model", "--key", "rel.pub").code == 0
    *_, last = records(call_json)
    assert (last["action"], last["outcome"], last["purpose"], last["name"]) == ("verify", "done", "verify", "model")
    (shop / "model" / "weights").write_text("other")
    assert call("verify", "model", *words, "--key", "rel.pub").code == 1
    *_, last = records(call_json)
    assert (last["action"], last["outcome"]) == ("verify", "failed")
    assert "was altered" in last["details"]["error"]


def test_the_environment_and_the_users_file_are_followed(shop, call, call_json, monkeypatch):
    monkeypatch.setenv("MARTENSITE_AUDIT", "audit.db")
    monkeypatch.setenv("MARTENSITE_ACTOR", "ci/7")
    call("verify", "model", "--key", "rel.pub")
    monkeypatch.delenv("MARTENSITE_AUDIT")
    (shop / "config" / "martensite" / "audit.yaml").write_text("{log: audit.db, actor: ada}")
    monkeypatch.delenv("MARTENSITE_ACTOR")
    call("verify", "model", "--key", "rel.pub")
    assert [one["actor"] for one in records(call_json, "--action", "verify")] == ["ci/7", "ada"]
    assert call("audit", "verify").code == 0


def test_what_the_machine_requires_is_recorded_there_or_not_done(shop, call, call_json, monkeypatch):
    monkeypatch.setattr("martensite.core.audit_rule.SITE", shop / "site.yaml")
    (shop / "site.yaml").write_text(f"{{log: {shop / 'site.db'}, required: true}}")
    assert call("sign", "model", "--key", "rel").code == 0
    assert [one["action"] for one in call_json("audit", "log").document["records"]] == ["open", "sign", "sign"]
    result = call("sign", "model", "--key", "rel", "--audit", "audit.db")
    assert result.code == 2
    assert "another audit log was asked for" in result.err
    (shop / "site.yaml").write_text(f"{{log: {shop / 'model' / 'weights' / 'x.db'}, required: true}}")
    (shop / "model.sig").unlink()
    assert call("sign", "model", "--key", "rel").code == 2
    assert not (shop / "model.sig").exists()


def test_log(shop, call, call_json):
    found = records(call_json)
    assert [(one["action"], one["outcome"]) for one in found] == [("open", "done"), ("sign", "begun"), ("sign", "done")]
    out = call("audit", "log", "--audit", "audit.db", "--last", "1").out
    assert len(out.splitlines()) == 1
    assert "sign" in out
    assert [one["number"] for one in records(call_json, "--model", "model")] == [2, 3]
    assert [one["number"] for one in records(call_json, "--model", found[2]["subject"][:20])] == [3]
    assert records(call_json, "--since", "2999-01-01") == records(call_json, "--until", "1999-01-01") == []
    assert len(records(call_json, "--since", "1d")) == 3
    assert records(call_json, "--actor", "nobody") == []


def test_what_others_wrote_does_not_command_the_terminal(shop, call, monkeypatch):
    monkeypatch.setenv("MARTENSITE_ACTOR", "\x1b[2J[red]eve\n9 forged")
    call("verify", "model", "--key", "rel.pub", "--audit", "audit.db")
    out = call("audit", "log", "--audit", "audit.db").out
    assert "\x1b" not in out
    assert "\\x1b[2J[red]eve\\n9 forged" in out


def test_models_and_access(here, call, call_json):
    assert call("evaluate", "hard", "--data", "data.npz", "--suite", "quick", "--samples", "9", "--audit", "audit.db").code == 0
    (model,) = call_json("audit", "models", "--audit", "audit.db", "--model", "hard").document["models"]
    assert model["name"] == "hard"
    assert [step[2] for step in model["history"]] == ["load", "evaluate"]
    assert call_json("audit", "models", "--audit", "audit.db", "--model", "other").document["models"] == []
    (access,) = call_json("audit", "access", "--audit", "audit.db").document["accesses"]
    assert (access["name"], access["purpose"]) == ("data.npz", "evaluate")
    assert "for evaluate" in call("audit", "access", "--audit", "audit.db").out
    assert "evaluate" in call("audit", "models", "--audit", "audit.db").out
    assert [one["action"] for one in records(call_json, "--model", "hard")] == ["load", "evaluate", "evaluate"]


def test_verify(shop, call, call_json, tamper):
    result = call("audit", "verify", "--audit", "audit.db")
    assert (result.code, result.out.split(":")[0]) == (0, "PASS")
    assert "would not show" in result.out
    tamper("UPDATE audit_records SET actor = 'eve' WHERE number = 2")
    result = call("audit", "verify", "--audit", "audit.db")
    assert result.code == 1
    assert "record 2 was edited" in result.out
    document = call_json("audit", "verify", "--audit", "audit.db").document
    assert document["verdict"] == "FAIL"
    assert {"number": 2, "kind": "edited"}.items() <= document["flaws"][-1].items()


def test_a_checkpoint_shows_that_the_end_was_cut(shop, call, call_json, tamper):
    assert call("audit", "checkpoint", "--audit", "audit.db", "--key", "aud", "--out", "kept.jsonl").code == 0
    call("sign", "model", "--key", "rel", "--audit", "audit.db")
    document = call_json("audit", "checkpoint", "--audit", "audit.db", "--key", "aud", "--out", "kept.jsonl").document
    assert document["size"] == 5
    assert len((shop / "kept.jsonl").read_text().splitlines()) == 2
    result = call("audit", "verify", "--audit", "audit.db", "--checkpoint", "kept.jsonl")
    assert (result.code, "without --trust or --key" in result.err) == (2, True)
    kept = ("--checkpoint", "kept.jsonl", "--trust", "trust.yaml")
    document = call_json("audit", "verify", "--audit", "audit.db", *kept).document
    assert (document["verdict"], document["latest"], document["signed"]) == ("PASS", 5, 2)
    tamper("DELETE FROM audit_records WHERE number > 3")
    tamper("DELETE FROM audit_checkpoints")
    result = call("audit", "verify", "--audit", "audit.db", *kept)
    assert result.code == 1
    assert "records 4 to 5 are missing" in result.out
    result = call("audit", "checkpoint", "--audit", "audit.db", "--key", "aud", "--out", "kept.jsonl")
    assert result.code == 1  # nobody signs that


def test_others_check_proofs_and_exports(shop, call):
    call("audit", "checkpoint", "--audit", "audit.db", "--key", "aud", "--out", "old.jsonl")
    call("sign", "model", "--key", "rel", "--audit", "audit.db")
    call("audit", "checkpoint", "--audit", "audit.db", "--key", "aud")
    assert call("audit", "prove", "2", "--audit", "audit.db", "--out", "two.json").code == 0
    assert call("audit", "prove", "--since", "old.jsonl", "--audit", "audit.db", "--out", "grown.json").code == 0
    assert call("audit", "export", "--audit", "audit.db", "--out", "log.jsonl").code == 0
    (shop / "audit.db").unlink()
    assert "record 2 is in the log" in call("audit", "verify", "two.json", "--trust", "trust.yaml").out
    assert "grew from 3 to 5" in call("audit", "verify", "grown.json", "--trust", "trust.yaml").out
    assert call("audit", "verify", "log.jsonl", "--trust", "trust.yaml").code == 0
    (shop / "two.json").write_text((shop / "two.json").read_text().replace('"begun"', '"done"'))
    assert call("audit", "verify", "two.json", "--trust", "trust.yaml").code == 1
    (shop / "log.jsonl").write_text((shop / "log.jsonl").read_text().replace('"begun"', '"done"', 1))
    result = call("audit", "verify", "log.jsonl", "--trust", "trust.yaml")
    assert result.code == 1
    assert "record 2 was replaced" in result.out


def test_erase(shop, call, call_json):
    from martensite.artifacts.audit import AuditLog, Entry

    with AuditLog("audit.db") as log:
        log.append([Entry("request", payload=b"age 41"), Entry("request", payload=b"age 42")])
    assert call_json("audit", "erase", "--number", "4", "--reason", "asked to", "--audit", "audit.db").document == {"erased": 1}
    assert "1 payload erased" in call("audit", "erase", "--before", "0d", "--reason", "retention", "--audit", "audit.db").out
    assert call("audit", "verify", "--audit", "audit.db").code == 0
    assert [one["purpose"] for one in records(call_json, "--action", "erase")] == ["asked to", "retention"]


def test_upgrade(shop, call):
    assert "nothing to do" in call("audit", "upgrade", "--audit", "audit.db").out
    sqlite3.connect("audit.db").execute("UPDATE audit_version SET version_num = '0001'").connection.commit()
    assert "martensite audit upgrade" in call("audit", "log", "--audit", "audit.db").err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("audit log", "no audit log is named"),
        ("audit log --audit absent.db", "does not exist"),
        ("audit log --audit audit.db --since yesterday", "is no moment"),
        ("audit verify --audit rel.pub", "is no audit log"),
        ("audit verify rel.pub", "is no exported audit log"),
        ("audit verify rel.pub --audit audit.db", "both a file and --audit"),
        ("audit verify --audit audit.db --trust trust.yaml --key rel.pub", "both --trust and --key"),
        ("audit checkpoint --audit audit.db --key rel", "role auditor"),
        ("audit prove 1 --audit audit.db", "has no checkpoint"),
        ("audit prove --audit audit.db", "a proof is of one thing"),
        ("audit erase --audit audit.db --reason x", "stated once"),
        ("audit erase --audit audit.db --before 1d --reason", "--reason"),
        ("audit lgo", "lgo"),
        ("verify model --key rel.pub --audit", "without a place"),
        ("verify model --key rel.pub --audit a.db --audit b.db", "twice"),
        ("verify model --key rel.pub --audit mysql://x/y", "mysql"),
    ],
)
def test_what_is_refused(words, expected, shop, call):
    result = call(*words.split())
    assert result.code == 2
    assert expected in result.err
    assert len(result.err.splitlines()) == 1


def test_recording_does_not_wait_for_torch(shop):
    code = (
        "import sys\nfrom martensite.cli.main import main\n"
        "try: main(['sign', 'model', '--key', 'rel', '--audit', 'audit.db'])\nexcept SystemExit: pass\n"
        "try: main(['audit', 'log', '--audit', 'audit.db', '--json'])\nfinally: print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    *document, last = result.stdout.splitlines()
    assert last == "False"
    assert json.loads("\n".join(document[document.index("{") :]))["records"]
