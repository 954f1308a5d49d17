"""Places for logs: a file of SQLite, and a database of a PostgreSQL server that the tests start, where one is installed."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from martensite.artifacts.audit.entry import Entry
from martensite.artifacts.audit.log import AuditLog


def digest(number):
    return f"sha256:{number:064x}"


def programs():
    """The folder of PostgreSQL's programs; Debian keeps it out of PATH."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    return next(iter(found + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="session")
def postgresql_server():
    """URL of a server on loopback, without the database's name; it refuses to run as root, so root lends it another account."""
    folder = programs()
    if folder is None or not (folder / "initdb").exists():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="martensite-postgresql-"))
    if who:
        shutil.chown(home, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = home / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": home, **who}
    server = None
    try:
        initdb = [folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, **quiet)
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": port,
            "max_connections": 30,
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen([folder / "postgres", "-D", data, *options], **quiet)
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # at once, whoever is still connected
            server.wait(timeout=60)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgresql(postgresql_server):
    """URL of an empty database."""
    import psycopg

    name = f"audit_{uuid.uuid4().hex}"
    for attempt in range(300):
        try:
            with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            break
        except psycopg.OperationalError:  # still starting
            if attempt == 299:
                raise
            time.sleep(0.1)
    return f"{postgresql_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a log may lie, of each kind."""
    return str(tmp_path / "audit.db") if request.param == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
def log(place):
    with AuditLog(place, actor="ada") as made:
        yield made


@pytest.fixture
def filled(log):
    """A log of eleven records: its own first, and ten about models 1 to 3."""
    log.append([Entry("train", kind="model", subject=digest(n % 3 + 1), details={"n": n}) for n in range(10)])
    return log


@pytest.fixture
def entries():
    def make(n, **given):
        return [Entry("request", kind="request", subject=digest(i), **given) for i in range(n)]

    return make
