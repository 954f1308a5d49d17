"""The audit log of a server: who asked what is there by digest, and nothing that policy doesn't allow."""

import asyncio
import contextlib
import hashlib
import json
import threading
import time
from datetime import timedelta

import pytest

pytest.importorskip("sqlalchemy")

from martensite.artifacts.audit import AuditLog
from martensite.core.errors import SignatureError, StorageError
from martensite.serving import ledger


def records(here):
    with AuditLog(here.folder / "audit.db", create=False) as log:
        return [(one, log.payload(one.number)) for one in log.read()]


@pytest.mark.parametrize("inputs", [False, True])
def test_loading_serving_and_requests_are_recorded(served, here, x, inputs):
    server = served(audit={"log": str(here.folder / "audit.db"), "inputs": inputs, "required": True})
    body = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": [0.5] * 16}]}).encode()
    assert server.post("/v2/models/tiny/infer", content=body).status_code == 200
    assert server.post("/v2/models/tiny/infer", content=b"{}").status_code == 400
    server.fleet.close()
    found = records(here)
    assert [(one.action, one.outcome) for one, _ in found] == [
        ("open", "done"), ("load", "done"), ("serve", "begun"), ("request", "done"), ("request", "refused"),
    ]  # fmt: skip
    digest = server.recorder.changes[0].digest
    assert found[1][0].subject == found[2][0].subject == digest
    assert json.loads(found[2][0].details)["verdict"] == "PASS"
    asked, payload = found[3]
    assert asked.subject == "sha256:" + hashlib.sha256(body).hexdigest()
    assert json.loads(asked.details)["model"] == digest
    assert asked.name == "anyone"
    assert payload == (body if inputs else None)


def test_a_request_that_a_model_stumbles_over_is_recorded(served, here, x):
    server = served(audit={"log": str(here.folder / "audit.db"), "required": True})

    def stumble(inputs):
        raise RuntimeError("secret of the server")

    server.fleet.slot("tiny").pick().loaded.backend = stumble
    answer = server.infer(x)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    server.fleet.close()
    entry, _ = records(here)[-1]
    assert (entry.action, entry.outcome) == ("request", "failed")
    assert json.loads(entry.details)["error"] == "RuntimeError"


def test_what_is_refused_at_loading_is_recorded(here, fleets):
    (here.one / "card.md").write_text("x")
    with pytest.raises(SignatureError):
        fleets(here.config(audit={"log": str(here.folder / "audit.db")}))
    (_, (entry, _)) = records(here)
    assert (entry.action, entry.outcome, entry.name) == ("load", "failed", "tiny")
    assert "was altered" in entry.details


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
def test_a_full_disk_costs_answers_only_where_the_record_is_required(served, here, x, monkeypatch, required, status):
    server = served(audit={"log": str(here.folder / "audit.db"), "required": required})

    def full(self, entries):
        raise StorageError("no space left on device")

    monkeypatch.setattr(AuditLog, "append", full)
    answer = server.infer(x)
    assert answer.status_code == status
    if required:
        assert "can't be recorded" in answer.json()["error"]
    monkeypatch.undo()
    assert server.infer(x).status_code == 200


def test_kept_requests_are_deleted_after_their_time(served, here, x, monkeypatch):
    server = served(audit={"log": str(here.folder / "audit.db"), "inputs": True, "required": True, "retention_days": 30})
    assert server.infer(x).status_code == 200
    later = ledger.now() + timedelta(days=31)
    monkeypatch.setattr(ledger, "now", lambda: later)
    server.fleet.ledger.erase()
    server.fleet.close()
    found = records(here)
    assert [payload for _, payload in found] == [None] * len(found)
    assert [one.action for one, _ in found][-2:] == ["request", "erase"]


def test_the_event_loop_never_waits_for_a_disk(served, here, x, monkeypatch):
    """Records that can't be written in time are lost and counted, where they aren't required."""
    monkeypatch.setattr(ledger, "OUTSTANDING", 0)
    server = served(audit={"log": str(here.folder / "audit.db")})
    assert server.infer(x).status_code == 200
    assert server.fleet.ledger.lost() >= 1


def test_a_request_that_is_given_up_is_recorded_all_the_same(here, monkeypatch):
    """A server that stops cancels what waits for a slow disk; a cancelled future would never be written."""
    append, busy, go_on = AuditLog.append, threading.Event(), threading.Event()

    def slow(self, entries):
        given = list(entries)
        busy.set()
        go_on.wait(30)
        return append(self, given)

    monkeypatch.setattr(AuditLog, "append", slow)
    book = ledger.Ledger(ledger.Audit(log=str(here.folder / "audit.db"), required=True))

    async def ask():
        digest = "sha256:" + "0" * 64
        first = asyncio.create_task(book.request(b"1", digest, "app", "done", {}))
        while not busy.is_set():
            await asyncio.sleep(0)
        second = asyncio.create_task(book.request(b"2", digest, "app", "done", {}))
        await asyncio.sleep(0.05)
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second
        go_on.set()
        await first

    asyncio.run(ask())
    book.close()
    assert [one.action for one, _ in records(here)].count("request") == 2


class Slow(int):
    """A number whose addition lets others in between reading and writing."""

    def __add__(self, other):
        value = int(self) + other
        time.sleep(0.001)
        return Slow(value)

    def __sub__(self, other):
        return self + -other


def test_what_is_outstanding_is_counted_rightly_by_many_threads(here):
    book = ledger.Ledger(ledger.Audit(log=str(here.folder / "audit.db")))
    book._outstanding = Slow(0)

    def ask():
        for _ in range(10):
            asyncio.run(book.request(b"1", "sha256:" + "0" * 64, "app", "done", {}))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    book.close()
    assert int(book._outstanding) == 0


def test_a_version_whose_loading_cannot_be_recorded_does_not_serve_where_that_is_required(served, here, x, monkeypatch):
    server = served(audit={"log": str(here.folder / "audit.db"), "required": True})
    append = AuditLog.append

    def full(self, entries):
        raise StorageError("no space left on device")

    monkeypatch.setattr(AuditLog, "append", full)
    before = server.fleet.slot("tiny").pick()
    with pytest.raises(StorageError, match="can't be recorded"):
        server.fleet.slot("tiny").load("primary")
    assert server.fleet.slot("tiny").pick() is before
    monkeypatch.setattr(AuditLog, "append", append)
    server.fleet.slot("tiny").load("primary")
    assert server.fleet.slot("tiny").pick() is not before
    assert server.infer(x).status_code == 200
    server.fleet.close()
    assert [(one.action, one.outcome) for one, _ in records(here)].count(("load", "done")) == 2
