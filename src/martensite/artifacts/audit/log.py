"""The log: append, read, erase a payload. What `append` returned is on disk, and nothing in the chain ever changes.

Each record holds the hash of the one before, and the records' hashes are the leaves of a Merkle tree (`merkle`), so that whoever
keeps one checkpoint can tell whether anything before it was changed.
"""

import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from martensite.artifacts.audit.database import Database
from martensite.artifacts.audit.entry import COLUMNS, NOTHING, Entry, Record, check_text, payload_digest, sealed
from martensite.artifacts.audit.tables import checkpoints, payloads, records
from martensite.core.errors import ArtifactError, ConfigError

BATCH = 5000  # rows a statement, or a read
OWN = ("open", "erase")  # actions that the log itself records
_INSERT = {
    kind: f"INSERT INTO audit_records ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"
    for kind, mark in (("sqlite", "?"), ("postgresql", "%s"))
}


class AuditLog:
    """A log that is there, or is made.

    Args:
        place: A path (SQLite), ``sqlite:///path`` or ``postgresql://user@host/name``.
        actor: Who is recorded; None: the account, ``user@host``.
        create: Make it where there is none.

    Raises:
        ConfigError: no such kind of place.
        ArtifactError: what lies there is no log, or one of another version.
        StorageError: it can't be written or reached.
    """

    def __init__(self, place: str | Path, *, actor: str | None = None, create: bool = True) -> None:
        self.database = Database(place)
        self.account = account()
        self.actor = actor or self.account
        check_text("actor", self.actor)
        if create and self._absent():
            self.database.upgrade()
            self._open()
        else:
            with self.database.reading():
                pass

    def append(self, entries: Iterable[Entry]) -> tuple[Record, ...]:
        """Record these, in this order, all or none; they are on disk when this returns.

        Raises:
            ConfigError: an action that is the log's own.
            StorageError: nothing was recorded.
        """
        given = list(entries)
        if not given:
            return ()
        if own := [one.action for one in given if one.action in OWN]:
            raise ConfigError(f"the action {own[0]!r} was given", "the log records that by itself", "call the act another name")
        with self.database.writing() as connection:
            return self._append(connection, given)

    def read(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        subject: str | None = None,
        actions: Sequence[str] = (),
        actor: str | None = None,
        newest: int | None = None,
    ) -> Iterator[Record]:
        """Records, oldest first.

        Args:
            since: Recorded then or later.
            until: Recorded before.
            subject: About this digest (or its first digits), or what is called so; also where the details hold the digest.
            actions: These only.
            actor: By this one only.
            newest: The last so many.
        """
        query = select(*records.c)
        if since is not None:
            query = query.where(records.c.time >= written(since))
        if until is not None:
            query = query.where(records.c.time < written(until))
        if subject is not None:
            query = query.where(_about(subject))
        if actions:
            query = query.where(records.c.action.in_(actions))
        if actor is not None:
            query = query.where((records.c.actor == actor) | (records.c.account == actor))
        if newest is not None:
            last = query.order_by(records.c.number.desc()).limit(newest).subquery()
            query = select(*last.c)
            yield from self._rows(query.order_by(last.c.number))
            return
        yield from self._rows(query.order_by(records.c.number))

    def get(self, number: int) -> Record:
        """One record.

        Raises:
            ArtifactError: there is none of that number.
        """
        found = list(self._rows(select(*records.c).where(records.c.number == number)))
        if not found:
            raise ArtifactError(f"{self.database} has no record {number}", f"it has {self.size}", "martensite audit log")
        return found[0]

    @property
    def size(self) -> int:
        """Number of records."""
        with self.database.reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(records.c.number), 0))).scalar_one())

    @property
    def identity(self) -> str:
        """The log's name: the hash of its first record, which holds a random number."""
        return self.get(1).hash

    def checkpoints(self) -> list[str]:
        """The signed checkpoints that the log holds, as bundles, in order of size."""
        with self.database.reading() as connection:
            return list(connection.scalars(select(checkpoints.c.bundle).order_by(checkpoints.c.size)))

    def add_checkpoint(self, size: int, root: str, bundle: str) -> None:
        """Keep a signed checkpoint; keep another copy where who can write the log can't."""
        with self.database.writing() as connection:
            connection.execute(checkpoints.insert(), {"size": size, "root": root, "bundle": bundle})

    def payload(self, number: int) -> bytes | None:
        """A record's payload; None: it has none, or it was erased."""
        with self.database.reading() as connection:
            return connection.execute(select(payloads.c.content).where(payloads.c.number == number)).scalar()

    def erase(self, first: int, last: int, reason: str) -> int:
        """Delete the payloads of these records for good; the deletion is recorded, and the chain stays whole.

        The record's name is ``"first-last"``: the database deletes no payload that no such record covers.

        Returns:
            How many there were; where there were none, nothing is recorded.

        Raises:
            ConfigError: no reason.
            StorageError: nothing was deleted.
        """
        if not reason.strip():
            raise ConfigError("no reason was given", "a deletion says why", "e.g. 'retention of 30 days'")
        mine = payloads.c.number.between(first, last)
        with self.database.writing() as connection:
            count = connection.execute(select(func.count()).where(mine)).scalar_one()
            if count:
                self._append(connection, [Entry("erase", name=f"{first}-{last}", purpose=reason, details={"payloads": count})])
                connection.execute(payloads.delete().where(mine))
        if count:
            self.database.forget()
        return int(count)

    def erase_before(self, moment: datetime, reason: str) -> int:
        """Retention: `erase` the payloads of all records from before ``moment``."""
        with self.database.reading() as connection:
            query = select(func.max(records.c.number)).where(records.c.time < written(moment))
            last = connection.execute(query).scalar()
        return 0 if last is None else self.erase(1, int(last), reason)

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, connection: Connection, entries: list[Entry]) -> tuple[Record, ...]:
        query = select(records.c.number, records.c.hash).order_by(records.c.number.desc()).limit(1)
        last, previous = connection.execute(query).first() or (0, NOTHING)
        time, rows, kept = written(datetime.now(UTC)), [], []
        for number, entry in enumerate(entries, last + 1):
            payload = ""
            if entry.payload is not None:
                salt = secrets.token_bytes(32)
                payload = payload_digest(salt, entry.payload)
                kept.append({"number": number, "salt": salt, "content": entry.payload})
            what = (entry.action, entry.kind, entry.subject, entry.name, entry.outcome, entry.purpose, entry.text)
            row = sealed((number, time, self.actor, self.account, *what, payload, previous))
            previous = row[-1]
            rows.append(row)
        for start in range(0, len(rows), BATCH):
            connection.exec_driver_sql(_INSERT[connection.dialect.name], rows[start : start + BATCH])
        if kept:
            connection.execute(payloads.insert(), kept)
        return tuple(Record(*row) for row in rows)

    def _rows(self, query: Select[Any]) -> Iterator[Record]:
        with self.database.reading() as connection:
            result = connection.execution_options(yield_per=BATCH).execute(query)
            for row in result:
                yield Record(*row)

    def _absent(self) -> bool:
        """No log lies there; an older one is not this program's to change unasked."""
        if self.database.sqlite and not (self.database.path.is_file() and self.database.path.stat().st_size):
            return True
        with self.database.reading(checked=False) as connection:
            return (
                self.database.version(connection) is None or connection.execute(select(records.c.number).limit(1)).first() is None
            )

    def _open(self) -> None:
        """The first record, by whoever comes first."""
        with self.database.writing() as connection:
            if connection.execute(select(func.count()).select_from(records)).scalar_one() == 0:
                nonce = "sha256:" + secrets.token_hex(32)
                self._append(connection, [Entry("open", kind="log", subject=nonce, details={"format": "martensite-audit-1"})])


def _about(subject: str) -> ColumnElement[bool]:
    """By name, or by the first digits of a digest, be it the subject's or one in the details."""
    digits = subject.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{6,64}", digits):
        return records.c.name == subject
    held = records.c.details.contains(f'"sha256:{digits}', autoescape=True)
    return or_(records.c.subject.startswith(f"sha256:{digits}", autoescape=True), held, records.c.name == subject)


def account() -> str:
    """``user@host`` as the system has it, whatever the environment says."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def written(moment: datetime) -> str:
    """``2026-12-31T12:00:00.000000Z``: all of one length, so that text sorts as time."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
