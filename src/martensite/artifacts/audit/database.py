"""Where a log lies: a file of SQLite, or PostgreSQL; connections that lose nothing they acknowledged, and errors in our words.

SQLite writes ahead (WAL) and flushes at each commit (synchronous=FULL); PostgreSQL commits synchronously. A writing transaction
begins by taking the one lock that all writers wait for.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from martensite.artifacts.audit.tables import VERSION_TABLE
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, StorageError

NEWEST = "0002"  # the last migration
PATIENCE = 60.0  # seconds to wait for other writers
LOCK = 0x6D617274656E7369  # PostgreSQL's advisory lock of the log: "martensi"
_migrating = threading.Lock()  # alembic keeps what it is about in globals
PRAGMAS = ("synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF", "recursive_triggers=ON")


class Database:
    """A place for a log.

    Args:
        place: A path, ``sqlite:///path``, or ``postgresql://user@host/name`` (the password from ``PGPASSWORD`` or ``~/.pgpass``).

    Raises:
        ConfigError: no such kind of place, or its driver is missing.
    """

    def __init__(self, place: str | Path) -> None:
        self.url = read_place(place)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._known = False
        self._file: tuple[int, int] | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return str(self.path) if self.sqlite else self.url.render_as_string(hide_password=True)

    @property
    def path(self) -> Path:
        """SQLite's file."""
        return Path(str(self.url.database))

    @contextmanager
    def reading(self, *, checked: bool = True) -> Iterator[Connection]:
        """A connection that changes nothing and sees one state of the log; ``checked``: which must be of this version.

        Raises:
            ArtifactError: there is no log, or a damaged one.
            StorageError: it can't be reached.
        """
        if self.sqlite and not self.path.is_file():
            raise ArtifactError(f"{self} does not exist", "an audit log is made by whoever records first", "check --audit")
        with self._explained(), self._engine.connect() as connection:
            connection = connection.execution_options(begin="BEGIN")
            with connection.begin():
                if self.sqlite:
                    connection.exec_driver_sql("PRAGMA query_only=ON")
                else:
                    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                try:
                    if checked:
                        self._check(connection)
                    yield connection
                finally:
                    if self.sqlite:
                        connection.exec_driver_sql("PRAGMA query_only=OFF")

    @contextmanager
    def writing(self, *, checked: bool = True) -> Iterator[Connection]:
        """A transaction that all other writers wait for; committed at the end of the block, and only then acknowledged.

        Raises:
            StorageError: the disk refused it, others kept the lock, or the server can't be reached. Nothing was recorded.
            ArtifactError: what lies there is no log.
        """
        with self._explained(), self._engine.connect() as connection:
            connection = connection.execution_options(begin="BEGIN IMMEDIATE")
            with connection.begin():
                self._check_place()
                if not self.sqlite:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE:.0f}s'")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
                if checked:
                    self._check(connection)
                yield connection

    def upgrade(self) -> bool:
        """Make the tables, or bring older ones to the newest state; False if there was nothing to do. Raises as `writing`."""
        from alembic import command
        from alembic.config import Config

        if self.sqlite:
            self._make_file()
        with _migrating, self.writing(checked=False) as connection:
            if self.version(connection) == NEWEST:
                return False
            config = Config()
            config.set_main_option("script_location", str(files("martensite.artifacts.audit") / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return True

    def version(self, connection: Connection) -> str | None:
        """The last migration that was applied; None: no log lies here."""
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        row = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").first()
        return None if row is None else str(row[0])

    def forget(self) -> None:
        """Let what was deleted leave SQLite's write-ahead file as well; PostgreSQL's vacuum does the like in its own time."""
        if not self.sqlite:
            return
        with suppress(sqlite3.Error):  # a reader is in its way: the next writer does it
            self._pragma("wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            if "_made" in self.__dict__:
                self._made.dispose(close=self._process == os.getpid())

    def _check(self, connection: Connection) -> None:
        if self._known:
            return
        found = self.version(connection)
        if found is None:
            raise ArtifactError(f"{self} holds no audit log", "a log is made by whoever records first", "check --audit")
        if found != NEWEST:
            older = found < NEWEST
            remedy = "martensite audit upgrade" if older else "use a newer version of Martensite"
            raise ArtifactError(f"{self} is of version {found}", f"this Martensite writes version {NEWEST}", remedy)
        self._known = True

    def _check_place(self) -> None:
        """A file that was moved or deleted would go on taking records that nobody finds."""
        if not self.sqlite:
            return
        try:
            found = self.path.stat()
            place = (found.st_dev, found.st_ino)
        except OSError:
            place = (0, 0)
        self._file = self._file or place
        if place == (0, 0) or place != self._file:
            raise self._refused("the file was removed or replaced while it was open")

    @property
    def _engine(self) -> Engine:
        """A process that was forked leaves its parent's connections alone."""
        with self._lock:
            if self._process != os.getpid():
                self._made.dispose(close=False)
                self._process = os.getpid()
            return self._made

    @cached_property
    def _made(self) -> Engine:
        try:
            if not self.sqlite:
                return create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
            url = URL.create("sqlite+pysqlite", database=str(self.path))
            engine = create_engine(url, connect_args={"timeout": PATIENCE, "isolation_level": None})
        except (ImportError, NoSuchModuleError) as error:
            rule = "each kind of database has its driver"
            raise ConfigError(f"{self} can't be used: {error}", rule, "pip install 'martensite[postgresql]'") from None
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def _make_file(self) -> None:
        """An empty file that only its owner can read: it says who did what."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise StorageError(f"{self} can't be written: {error.strerror}", remedy="choose another --audit") from None
        deadline = time.monotonic() + PATIENCE
        while True:  # two that switch to WAL at once get "locked" without waiting
            try:
                with self._explained():
                    self._pragma("journal_mode=WAL")
                return
            except sqlite3.Error as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise self._refused(str(error)) from None
                time.sleep(0.05)

    def _pragma(self, pragma: str) -> None:
        """Outside any transaction."""
        raw = self._engine.raw_connection()
        try:
            raw.cursor().execute(f"PRAGMA {pragma}")
        finally:
            raw.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._refused(str(error.orig)) from None
        except PoolTimeout as error:
            raise self._refused(str(error)) from None

    def _refused(self, reason: str) -> MartensiteError:
        reason = " ".join(reason.split())[:300]
        if any(word in reason for word in ("malformed", "not a database", "no such table", "no such column")):
            return ArtifactError(f"{self} is no audit log: {reason}", "it is damaged, or something else", "restore a copy of it")
        rule = "what can't be recorded is not acknowledged; all that was is still there"
        return StorageError(f"{self} refused: {reason}", rule, "free space, mend the place or its rights, then try again")


def read_place(place: str | Path) -> URL:
    """A place as SQLAlchemy's URL.

    Raises:
        ConfigError: it is none.
    """
    text = str(place)
    if "://" not in text:
        if not text:
            raise ConfigError("the audit log's place is empty", "it is a path or a URL", "e.g. audit.db")
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise ConfigError("the audit log's URL can't be read", "it is sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return URL.create("sqlite", database=str(Path(url.database).expanduser().absolute()))
    if kind == "postgresql":
        return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    raise ConfigError(f"the audit log's place is of the kind {url.drivername!r}", "it is a file of SQLite, or PostgreSQL")


def _prepare(connection: Any, _: Any) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
