"""Triggers that make the database itself refuse what an append-only log never does.

A record follows the last one or is not inserted; nothing is changed or deleted, but a payload whose deletion is recorded. Who
owns the database can drop them: then verification says so.
"""

from sqlalchemy import Connection

SQLITE = {
    "audit_records_follow": """
        BEFORE INSERT ON audit_records
        WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM audit_records)
          OR NEW.previous IS NOT coalesce((SELECT hash FROM audit_records ORDER BY number DESC LIMIT 1), printf('%064d', 0))
        BEGIN SELECT RAISE(ABORT, 'audit: a record follows the last one'); END""",
    "audit_records_stay": """
        BEFORE UPDATE ON audit_records BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
    "audit_records_remain": """
        BEFORE DELETE ON audit_records BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
    "audit_payloads_follow": """
        BEFORE INSERT ON audit_payloads
        WHEN NOT EXISTS (SELECT 1 FROM audit_records WHERE number = NEW.number AND payload <> '')
          OR EXISTS (SELECT 1 FROM audit_payloads WHERE number = NEW.number)
        BEGIN SELECT RAISE(ABORT, 'audit: a payload belongs to a record'); END""",
    "audit_payloads_stay": """
        BEFORE UPDATE ON audit_payloads BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
    "audit_payloads_remain": """
        BEFORE DELETE ON audit_payloads
        WHEN NOT EXISTS (
            SELECT 1 FROM audit_records WHERE action = 'erase' AND number > OLD.number
            AND OLD.number BETWEEN CAST(name AS INTEGER) AND CAST(substr(name, instr(name, '-') + 1) AS INTEGER))
        BEGIN SELECT RAISE(ABORT, 'audit: a payload is deleted after a record of its deletion'); END""",
    "audit_checkpoints_follow": """
        BEFORE INSERT ON audit_checkpoints
        WHEN EXISTS (SELECT 1 FROM audit_checkpoints WHERE size = NEW.size AND root = NEW.root)
        BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
    "audit_checkpoints_stay": """
        BEFORE UPDATE ON audit_checkpoints BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
    "audit_checkpoints_remain": """
        BEFORE DELETE ON audit_checkpoints BEGIN SELECT RAISE(ABORT, 'audit: the log is append-only'); END""",
}

# Of PostgreSQL: name of a function to its body.
FUNCTIONS = {
    "audit_refuse": "BEGIN RAISE EXCEPTION 'audit: the log is append-only'; END",
    "audit_follow": """
        DECLARE tail_number bigint; tail_hash text;
        BEGIN
            SELECT number, hash INTO tail_number, tail_hash FROM audit_records ORDER BY number DESC LIMIT 1;
            IF NEW.number <> coalesce(tail_number, 0) + 1 OR NEW.previous <> coalesce(tail_hash, repeat('0', 64)) THEN
                RAISE EXCEPTION 'audit: a record follows the last one';
            END IF;
            RETURN NEW;
        END""",
    "audit_belong": """
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM audit_records WHERE number = NEW.number AND payload <> '') THEN
                RAISE EXCEPTION 'audit: a payload belongs to a record';
            END IF;
            RETURN NEW;
        END""",
    "audit_erase": """
        BEGIN
            IF NOT EXISTS (
                SELECT 1 FROM audit_records WHERE action = 'erase' AND number > OLD.number
                AND OLD.number BETWEEN split_part(name, '-', 1)::bigint AND split_part(name, '-', 2)::bigint
            ) THEN
                RAISE EXCEPTION 'audit: a payload is deleted after a record of its deletion';
            END IF;
            RETURN OLD;
        END""",
}
# Name of a trigger to when it fires and the function that it calls.
POSTGRESQL = {
    "audit_records_follow": ("BEFORE INSERT ON audit_records FOR EACH ROW", "audit_follow"),
    "audit_records_stay": ("BEFORE UPDATE OR DELETE ON audit_records FOR EACH ROW", "audit_refuse"),
    "audit_records_remain": ("BEFORE TRUNCATE ON audit_records", "audit_refuse"),
    "audit_payloads_follow": ("BEFORE INSERT ON audit_payloads FOR EACH ROW", "audit_belong"),
    "audit_payloads_stay": ("BEFORE UPDATE ON audit_payloads FOR EACH ROW", "audit_refuse"),
    "audit_payloads_remain": ("BEFORE DELETE ON audit_payloads FOR EACH ROW", "audit_erase"),
    "audit_payloads_whole": ("BEFORE TRUNCATE ON audit_payloads", "audit_refuse"),
    "audit_checkpoints_stay": ("BEFORE UPDATE OR DELETE ON audit_checkpoints FOR EACH ROW", "audit_refuse"),
    "audit_checkpoints_remain": ("BEFORE TRUNCATE ON audit_checkpoints", "audit_refuse"),
}


def statements(dialect: str, schema: str = "") -> list[str]:
    """SQL that makes them; ``schema``: PostgreSQL's, already quoted, or a temporary table could stand in for the log's."""
    if dialect == "sqlite":
        return [f"CREATE TRIGGER {name} {' '.join(body.split())}" for name, body in SQLITE.items()]
    scope = f"SET search_path = {schema}, pg_temp"
    functions = [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {scope} AS $$ {' '.join(body.split())} $$"
        for name, body in FUNCTIONS.items()
    ]
    return functions + [f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {call}()" for name, (when, call) in POSTGRESQL.items()]


def missing(connection: Connection) -> list[str]:
    """Triggers that are not there as they were made."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        found: dict[str, str] = dict(iter(rows))
        return [name for name, made in zip(SQLITE, statements("sqlite"), strict=True) if found.get(name) != made]
    rows = connection.exec_driver_sql(
        "SELECT t.tgname, p.proname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE t.tgenabled IN ('O', 'A') AND t.tgrelid IN ("
        "to_regclass('audit_records'), to_regclass('audit_payloads'), to_regclass('audit_checkpoints'))"
    )
    working = {name: (call, source.split()) for name, call, source in rows}
    return [name for name, (_, call) in POSTGRESQL.items() if working.get(name) != (call, FUNCTIONS[call].split())]
