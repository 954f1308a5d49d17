"""Verification: each way of tampering is found, and the record is named. Tampering goes around the triggers, as an owner can."""

import json
import sqlite3

import pytest

from martensite.artifacts.audit import scan, verify
from martensite.artifacts.audit.checkpoint import Checkpoint
from martensite.artifacts.audit.database import Database
from martensite.artifacts.audit.entry import COLUMNS, Entry, sealed
from martensite.artifacts.audit.export import export_log, verify_export
from martensite.artifacts.audit.guards import SQLITE, statements
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.merkle import leaf_hash, tree_root
from martensite.artifacts.audit.sealing import make_checkpoint
from martensite.artifacts.audit.verify import verify_log
from martensite.artifacts.signing import PrivateKey
from martensite.core.errors import SignatureError


def digest(number):
    return f"sha256:{number:064x}"


KEY = PrivateKey.new()


@pytest.fixture
def path(tmp_path):
    """A log of 21 records, with two checkpoints in it: of 11 and of 21 records."""
    with AuditLog(tmp_path / "a.db") as log:
        for start in (0, 10):
            log.append([Entry("train", "model", digest(n), details={"n": n}) for n in range(start, start + 10)])
            make_checkpoint(log, KEY)
        log.append([Entry("request", payload=b"body")])
    return tmp_path / "a.db"


@pytest.fixture
def tamper(path):
    """Run statements as the file's owner can: without the triggers, which are then as they were."""

    def run(*given):
        connection = sqlite3.connect(path, isolation_level=None)
        for name in SQLITE:
            connection.execute(f"DROP TRIGGER {name}")
        for one in given:
            if callable(one):
                one(connection)
            else:
                connection.execute(one)
        for one in statements("sqlite"):
            connection.execute(one)
        connection.close()
        return verify_log(Database(path))

    return run


def rewrite(number, **changed):
    """Change a record and give it, and all that follow it, fresh hashes: a forger who knows the format."""

    def run(connection):
        rows = connection.execute(
            f"SELECT {','.join(COLUMNS)} FROM audit_records WHERE number >= {number} ORDER BY number"
        ).fetchall()
        previous = None
        for row in rows:
            values = dict(zip(COLUMNS, row, strict=True)) | (changed if row[0] == number else {})
            values["previous"] = previous or values["previous"]
            fresh = sealed(tuple(values[name] for name in COLUMNS[:-1]))
            previous = fresh[-1]
            marks = ",".join("?" * len(COLUMNS))
            connection.execute(f"REPLACE INTO audit_records ({','.join(COLUMNS)}) VALUES ({marks})", fresh)

    return run


def swap(a, b):
    return [f"UPDATE audit_records SET number = {x} WHERE number = {y}" for x, y in ((-1, a), (a, b), (b, -1))]


def found(result):
    return [(flaw.kind, flaw.number) for flaw in result.flaws]


def test_untouched(path):
    result = verify_log(Database(path), by=KEY.public)
    assert result.whole
    assert (result.size, result.checkpoints, result.signed, result.latest) == (22, 2, 2, 21)
    with AuditLog(path) as log:
        records = list(log.read())
    assert result.root == tree_root([leaf_hash(one.line()) for one in records]).hex()
    assert result.log == records[0].hash


@pytest.mark.parametrize("column", COLUMNS[1:12])
def test_edited(column, tamper):
    result = tamper(f"UPDATE audit_records SET {column} = {column} || ' ' WHERE number = 7")
    assert ("edited", 7) in found(result)
    assert "record 7 was edited" in result.flaws[0].reason


def test_edited_into_what_is_no_text(tamper):
    assert ("edited", 7) in found(tamper("UPDATE audit_records SET actor = x'ff00fe' WHERE number = 7"))
    assert ("edited", 8) in found(tamper("UPDATE audit_records SET actor = CAST(x'ff00fe' AS TEXT) WHERE number = 8"))
    assert ("edited", 9) in found(tamper("UPDATE audit_records SET details = 5 WHERE number = 9"))


def test_edited_with_a_fresh_hash(tamper):
    def forge(connection):
        row = connection.execute(f"SELECT {','.join(COLUMNS)} FROM audit_records WHERE number = 7").fetchone()
        fresh = sealed((*row[:2], "eve", *row[3:13]))
        connection.execute("UPDATE audit_records SET actor = ?, hash = ? WHERE number = 7", (fresh[2], fresh[-1]))

    result = tamper(forge)
    assert ("rewritten", 7) in found(result)
    assert "record 7 was replaced" in result.flaws[0].reason


def test_everything_rewritten_from_a_record_on(tamper):
    result = tamper(rewrite(15, actor="eve"))
    assert found(result) == [("rewritten", 21)]
    assert "one of the records 12 to 21 was rewritten" in result.flaws[0].reason
    assert found(tamper(rewrite(5, actor="eve"))) == [("rewritten", 11), ("rewritten", 21)]


def test_the_first_record_replaced(tamper):
    assert {kind for kind, _ in found(tamper(rewrite(1, actor="eve")))} == {"rewritten"}


def test_rewritten_after_the_last_checkpoint_shows_to_nobody(tamper):
    assert tamper(rewrite(22, actor="eve")).whole  # said in the manual: keep checkpoints, and make them often


@pytest.mark.parametrize(("gone", "number"), [("= 7", 7), ("BETWEEN 7 AND 9", 7), ("= 1", 1), ("% 2 = 0", 2)])
def test_removed(gone, number, tamper):
    result = tamper(f"DELETE FROM audit_records WHERE number {gone}")
    assert found(result)[0] == ("missing", number)
    assert f"{number}" in result.flaws[0].reason


def test_removed_and_numbered_anew(tamper):
    result = tamper(
        "DELETE FROM audit_records WHERE number = 7",
        *(f"UPDATE audit_records SET number = {n - 1} WHERE number = {n}" for n in range(8, 23)),
    )
    assert found(result)[0][1] == 7


def test_reordered(tamper):
    result = tamper(*swap(7, 12))
    assert {("moved", 7), ("moved", 12)} <= set(found(result))
    assert "what stands as record 7 is record 12" in result.flaws[0].reason


def test_truncated(tamper):
    result = tamper("DELETE FROM audit_records WHERE number > 15")
    assert found(result) == [("truncated", 16), ("payload", 22)]
    assert "records 16 to 21 are missing" in result.flaws[0].reason


def test_truncated_together_with_the_logs_own_checkpoints(path, tamper):
    with AuditLog(path) as log:
        kept = [Checkpoint.parse(one, "x") for one in log.checkpoints()]
    tables = ("audit_checkpoints", "audit_payloads")
    assert tamper("DELETE FROM audit_records WHERE number > 15", *(f"DELETE FROM {table}" for table in tables)).whole
    assert found(verify_log(Database(path), checkpoints=kept, by=KEY.public)) == [("truncated", 16)]


def test_emptied(tamper):
    assert found(tamper("DELETE FROM audit_records"))[0] == ("missing", 1)


def test_a_number_out_of_this_world(tamper):
    result = tamper(f"UPDATE audit_records SET number = {2**62} WHERE number = 22")
    assert found(result)[0] == ("missing", 22)
    assert ("edited", 2**62) in found(result) or ("moved", 2**62) in found(result)
    assert not tamper(f"UPDATE audit_records SET number = -5 WHERE number = {2**62}").whole


def test_another_log(tmp_path, path):
    with AuditLog(tmp_path / "b.db") as log:
        other = make_checkpoint(log, KEY)
    result = verify_log(Database(path), checkpoints=[other], by=KEY.public)
    assert "is of the log" in result.flaws[0].reason


def test_the_triggers_gone(path):
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER audit_records_stay")
    assert found(verify_log(Database(path))) == [("guard", 0)]
    connection.execute("CREATE TRIGGER audit_records_stay BEFORE UPDATE ON audit_records BEGIN SELECT 1; END")
    connection.commit()
    connection.close()
    assert found(verify_log(Database(path))) == [("guard", 0)]


def test_triggers_disabled_on_postgresql(postgresql):
    with AuditLog(postgresql) as log:
        assert verify_log(log.database).whole
        with log.database._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_records DISABLE TRIGGER audit_records_stay")
            connection.exec_driver_sql(
                "CREATE OR REPLACE FUNCTION audit_erase() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"
            )
        assert {flaw.reason.split()[-3] for flaw in verify_log(log.database).flaws} == {
            "audit_records_stay",
            "audit_payloads_remain",
        }


def test_edited_on_postgresql(postgresql):
    with AuditLog(postgresql) as log:
        log.append([Entry("train") for _ in range(5)])
        with log.database._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_records DISABLE TRIGGER USER")
            connection.exec_driver_sql("UPDATE audit_records SET actor = 'eve' WHERE number = 3")
            connection.exec_driver_sql("ALTER TABLE audit_records ENABLE TRIGGER USER")
        assert found(verify_log(log.database)) == [("edited", 3)]


def test_payloads(tamper):
    assert found(tamper("UPDATE audit_payloads SET content = x'00'")) == [("payload", 22)]
    result = tamper("DELETE FROM audit_payloads")
    assert found(result) == [("payload", 22)]
    assert "no record says that it was erased" in result.flaws[0].reason


def test_an_erasure_excuses_only_what_was_there_before_it(path, tamper):
    with AuditLog(path) as log:
        log.erase(1, 1000, "all")
        log.append([Entry("request", payload=b"later")])
    assert found(tamper("DELETE FROM audit_payloads")) == [("payload", 24)]


def test_stretches_join(path, monkeypatch):
    whole = verify_log(Database(path))
    for module in (scan, verify):
        monkeypatch.setattr(module, "HEIGHT", 2)
    monkeypatch.setattr(verify, "STRETCH", 4)
    pieces = verify_log(Database(path))
    assert pieces.whole
    assert pieces.root == whole.root


@pytest.mark.parametrize("number", [4, 5, 8, 21])
def test_flaws_at_the_joints(number, tamper, monkeypatch):
    for module in (scan, verify):
        monkeypatch.setattr(module, "HEIGHT", 2)
    monkeypatch.setattr(verify, "STRETCH", 4)

    def forge(connection):
        row = connection.execute(f"SELECT {','.join(COLUMNS)} FROM audit_records WHERE number = {number}").fetchone()
        fresh = sealed((*row[:2], "eve", *row[3:13]))
        connection.execute("UPDATE audit_records SET actor = ?, hash = ? WHERE number = ?", (fresh[2], fresh[-1], number))

    assert ("rewritten", number) in found(tamper(forge))
    assert ("missing", number) in found(tamper(f"DELETE FROM audit_records WHERE number = {number}"))


def test_processes_find_the_same(path, monkeypatch):
    monkeypatch.setattr(verify, "STRETCH", 8)
    monkeypatch.setattr(verify, "HEIGHT", 3)
    alone, together = (verify_log(Database(path), workers=workers) for workers in (1, 2))
    assert (alone.size, alone.flaws) == (together.size, together.flaws)


def test_only_a_whole_log_is_signed(path, tamper):
    tamper("UPDATE audit_records SET actor = 'eve' WHERE number = 3")
    with AuditLog(path) as log, pytest.raises(SignatureError, match="record 3 was edited"):
        make_checkpoint(log, KEY)


def test_an_export_is_verified_like_the_log(path, tmp_path):
    with AuditLog(path) as log:
        assert export_log(log, tmp_path / "log.jsonl") == 22
    result, direct = verify_export(tmp_path / "log.jsonl", by=KEY.public), verify_log(Database(path))
    assert result.whole
    assert (result.root, result.size, result.signed, result.log) == (direct.root, 22, 2, direct.log)
    assert b"body" not in (tmp_path / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: [*rows[:6], rows[6].replace('"train"', '"sign"'), *rows[7:]], ("rewritten", 7)),
        (lambda rows: [*rows[:6], rows[6].replace('"n":5', '"n": 5'), *rows[7:]], ("edited", 7)),
        (lambda rows: [*rows[:6], "{", *rows[7:]], ("edited", 7)),
        (lambda rows: rows[:6] + rows[7:], ("missing", 7)),
        (lambda rows: [*rows[:6], rows[7], rows[6], *rows[8:]], ("missing", 7)),
        (lambda rows: rows[:15], ("truncated", 16)),
        (lambda rows: [], ("missing", 1)),
    ],
)
def test_an_export_that_was_changed(change, expected, path, tmp_path):
    with AuditLog(path) as log:
        export_log(log, tmp_path / "log.jsonl")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    head, rows = lines[:3], lines[3:]
    assert json.loads(head[0])["checkpoints"] == 2
    changed = change(rows)
    assert changed != rows
    (tmp_path / "log.jsonl").write_text("\n".join([*head, *changed]) + "\n")
    assert expected in found(verify_export(tmp_path / "log.jsonl"))
