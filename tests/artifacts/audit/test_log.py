"""The log: what is appended stays, in order, and the database itself refuses the rest. On SQLite and on PostgreSQL."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from martensite.artifacts.audit.database import Database, read_place
from martensite.artifacts.audit.entry import NOTHING, Entry
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.tables import metadata
from martensite.artifacts.audit.verify import verify_log
from martensite.core.errors import ArtifactError, ConfigError, StorageError


def digest(number):
    return f"sha256:{number:064x}"


def test_records_follow_one_another(filled):
    found = list(filled.read())
    assert [one.number for one in found] == list(range(1, 12))
    assert [one.previous for one in found] == [NOTHING, *(one.hash for one in found[:-1])]
    assert found[0].action == "open"
    assert filled.identity == found[0].hash
    assert {one.actor for one in found} == {"ada"}
    assert filled.append([]) == ()
    assert verify_log(filled.database).whole


def test_a_second_writer_goes_on_where_the_first_was(place):
    with AuditLog(place) as one, AuditLog(place) as two:
        assert one.identity == two.identity
        numbers = [log.append([Entry("train")])[0].number for log in (one, two, one, two)]
        assert numbers == [2, 3, 4, 5]
        assert verify_log(one.database).whole


def test_what_is_asked_for(filled):
    assert [one.number for one in filled.read(newest=2)] == [10, 11]
    assert [one.number for one in filled.read(subject=digest(2))] == [3, 6, 9]
    assert [one.number for one in filled.read(subject=digest(2)[7:], newest=1)] == [9]
    assert list(filled.read(subject="%")) == []
    filled.append([Entry("sign", "files", digest(77), "hard", details={"model": digest(5)}), Entry("gate", name="50%")])
    assert [one.action for one in filled.read(subject=digest(5))] == ["sign"]
    assert [one.action for one in filled.read(subject="hard")] == ["sign"]
    assert [one.action for one in filled.read(actions=("sign", "gate"))] == ["sign", "gate"]
    assert list(filled.read(actor="bob")) == []
    moment = datetime.now(UTC)
    assert list(filled.read(since=moment + timedelta(minutes=1))) == []
    assert len(list(filled.read(since=moment - timedelta(hours=1), until=moment + timedelta(hours=1)))) == 13
    with pytest.raises(ArtifactError, match="no record 99"):
        filled.get(99)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET actor = 'eve' WHERE number = 5",
        "DELETE FROM audit_records WHERE number = 11",
        "DELETE FROM audit_records",
        "INSERT INTO audit_records SELECT number + 100, time, actor, account, action, kind, subject, name, outcome, purpose,"
        " details, payload, previous, hash FROM audit_records WHERE number = 5",
        "INSERT INTO audit_records SELECT number + 1, time, actor, account, action, kind, subject, name, outcome, purpose,"
        " details, payload, previous, hash FROM audit_records WHERE number = 11",
        "UPDATE audit_payloads SET content = salt",
        "DELETE FROM audit_payloads",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_checkpoints SET size = 1",
    ],
)
def test_the_database_refuses(statement, filled):
    filled.append([Entry("request", payload=b"body")])
    filled.add_checkpoint(1, "root", "bundle")
    with pytest.raises(DBAPIError, match="audit:"), filled.database._engine.begin() as connection:
        connection.exec_driver_sql(statement.replace("11", "12"))
    assert filled.size == 12
    assert filled.payload(12) == b"body"


def test_sqlite_replaces_nothing_either(tmp_path):
    with AuditLog(tmp_path / "a.db") as log:
        log.append([Entry("train")])
    connection = sqlite3.connect(tmp_path / "a.db")  # as anybody opens it, with SQLite's own defaults
    with pytest.raises(sqlite3.IntegrityError, match="audit:"):
        connection.execute("INSERT OR REPLACE INTO audit_records SELECT * FROM audit_records WHERE number = 1")
    connection.close()


def test_postgresql_truncates_nothing(postgresql):
    with AuditLog(postgresql) as log:
        for table in metadata.tables:
            with pytest.raises(DBAPIError, match="append-only"), log.database._engine.begin() as connection:
                connection.exec_driver_sql(f"TRUNCATE {table}")


def test_a_temporary_table_does_not_stand_in_for_the_log(postgresql):
    with AuditLog(postgresql) as log:
        log.append([Entry("train")])
        with pytest.raises(DBAPIError, match="follows the last"), log.database._engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TEMP TABLE audit_records (number bigint, hash text);"
                "INSERT INTO public.audit_records SELECT 1000 + number, time, actor, account, action, kind, subject, name,"
                " outcome, purpose, details, payload, repeat('0', 64), hash FROM public.audit_records WHERE number = 2"
            )


def test_an_account_that_may_only_add(postgresql):
    AuditLog(postgresql).close()
    with Database(postgresql).writing() as owner:
        owner.exec_driver_sql("CREATE ROLE recorder LOGIN")
        for rights in (
            "SELECT ON audit_version, audit_records, audit_payloads, audit_checkpoints",
            "INSERT ON audit_records, audit_payloads, audit_checkpoints",
        ):
            owner.exec_driver_sql(f"GRANT {rights} TO recorder")
    with AuditLog(postgresql.replace("postgres@", "recorder@"), actor="ada") as log:
        assert log.append([Entry("request", payload=b"body")])[0].number == 2
        assert verify_log(log.database).whole
        with pytest.raises(StorageError, match="permission denied"):
            log.erase(2, 2, "asked to")
        with pytest.raises(DBAPIError, match="must be owner"), log.database._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_records DISABLE TRIGGER ALL")
        assert log.size == 2


def test_payloads_are_kept_apart_and_can_be_erased(filled):
    content = b"age 41, income 5000"
    (record,) = filled.append([Entry("request", payload=content)])
    assert content not in record.line()
    assert filled.payload(record.number) == content
    assert filled.payload(1) is None
    with pytest.raises(ConfigError, match="no reason"):
        filled.erase(record.number, record.number, " ")
    assert filled.erase(record.number, record.number, "asked to") == 1
    assert filled.payload(record.number) is None
    *_, last = filled.read()
    assert (last.action, last.purpose) == ("erase", "asked to")
    assert filled.erase(1, 12, "again") == 0
    assert filled.size == 13
    assert verify_log(filled.database).whole


def test_retention(filled):
    filled.append([Entry("request", payload=b"old")])
    assert filled.erase_before(datetime.now(UTC) - timedelta(days=30), "retention of 30 days") == 0
    assert filled.erase_before(datetime.now(UTC) + timedelta(minutes=1), "retention") == 1
    assert filled.erase_before(datetime(1999, 1, 1), "retention") == 0


def test_an_erased_payload_leaves_the_file(tmp_path):
    with AuditLog(tmp_path / "a.db") as log:
        log.append([Entry("request", payload=b"personal " * 100)])
        log.erase(2, 2, "asked to")
    assert not any(b"personal" in path.read_bytes() for path in tmp_path.iterdir())


def test_an_older_log_is_upgraded_when_asked(place):
    from alembic import command
    from alembic.config import Config

    database = Database(place)
    if database.sqlite:
        database._make_file()
    config = Config()
    config.set_main_option("script_location", "src/martensite/artifacts/audit/migrations")
    with database.writing(checked=False) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="martensite audit upgrade"), database.reading():
            pass
    assert database.upgrade()
    assert not database.upgrade()
    with AuditLog(place) as log:
        assert verify_log(log.database).whole
    database.close()


def test_migrations_make_what_the_tables_say(log):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with log.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "audit_version"})
        assert compare_metadata(context, metadata) == []


def test_a_log_of_the_future_is_left_alone(tmp_path):
    AuditLog(tmp_path / "a.db").close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE audit_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ArtifactError, match="newer version"):
        AuditLog(tmp_path / "a.db")


@pytest.mark.parametrize("place", ["", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "postgresql//x", "://", "oracle://x"])
def test_no_place(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if place == "postgresql//x":
        assert read_place(place).get_backend_name() == "sqlite"  # a path, if an odd one
        return
    with pytest.raises(ConfigError):
        Database(place)


def test_what_is_no_log(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 50)
    with pytest.raises(ArtifactError, match="is no audit log"):
        AuditLog(tmp_path / "text")
    with pytest.raises(ArtifactError, match="does not exist"):
        AuditLog(tmp_path / "absent.db", create=False)
    assert not (tmp_path / "absent.db").exists()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(ArtifactError, match="holds no audit log"):
        AuditLog(tmp_path / "other.db", create=False)
    with pytest.raises(StorageError, match="refused"):
        AuditLog("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")


def test_a_password_is_never_told():
    assert "secret" not in str(Database("postgresql://ada:secret@127.0.0.1:1/x"))
    with pytest.raises(StorageError) as caught:
        AuditLog("postgresql://ada:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_only_its_owner_reads_the_file(tmp_path):
    AuditLog(tmp_path / "a.db").close()
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600
