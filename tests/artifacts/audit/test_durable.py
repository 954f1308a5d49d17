"""What was acknowledged is there, and the chain verifies: with many writers, after kill -9, on a full disk."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from martensite.artifacts.audit.database import Database
from martensite.artifacts.audit.entry import Entry
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.verify import verify_log
from martensite.artifacts.audit.writer import Writer
from martensite.core.errors import StorageError

# Appends to argv[1] as argv[2], argv[3] batches of one to five records, and says each number once it is acknowledged.
WRITER = """
import sys
from martensite.artifacts.audit.entry import Entry
from martensite.artifacts.audit.log import AuditLog
from martensite.core.errors import StorageError

place, name, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = AuditLog(place, actor=name)
for batch in range(batches):
    try:
        written = log.append([Entry("request", name=f"{name} {batch} {i}", payload=b"x" * 50) for i in range(batch % 5 + 1)])
    except StorageError as error:
        print("refused", error.value, flush=True)
        break
    for record in written:
        print(record.number, record.hash, flush=True)
"""


def start(place, name, batches, **given):
    command = [sys.executable, "-c", WRITER, str(place), name, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given)


def acknowledged(lines):
    """Number to hash, of whole lines."""
    return {int(line.split()[0]): line.split()[1] for line in lines if line.endswith("\n") and not line.startswith("refused")}


def holds(place, told):
    """The log verifies and has every record that was told of."""
    assert verify_log(Database(place)).whole
    with AuditLog(place) as log:
        found = {record.number: record.hash for record in log.read()}
    assert told.items() <= found.items()
    return found


def test_many_processes_write_at_once(place):
    """They also make the log at once, which none of them finds there."""
    writers = [start(place, f"writer-{i}", 15) for i in range(3)]
    ended = [writer.communicate(timeout=120) for writer in writers]
    assert [errors for _, errors in ended] == [""] * 3
    told = [acknowledged(out.splitlines(keepends=True)) for out, _ in ended]
    found = holds(place, {number: hash for one in told for number, hash in one.items()})
    assert len(found) == 1 + sum(map(len, told)) == 1 + 3 * 45


def test_killed_in_the_middle(place):
    AuditLog(place).close()
    writer = start(place, "killed", 10**6)
    lines = [writer.stdout.readline() for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.communicate()
    told = acknowledged(lines)
    assert len(told) >= 20
    before = holds(place, told)
    with AuditLog(place) as log:  # and it goes on
        assert log.append([Entry("train")])[0].number == len(before) + 1
    holds(place, told)


def test_a_file_that_may_not_grow(tmp_path):
    """The limit on a file's size refuses writes as a full disk does."""
    AuditLog(tmp_path / "a.db").close()
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n{WRITER}"
    command = [sys.executable, "-c", limited, str(tmp_path / "a.db"), "limited", "100000"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = ended.stdout.splitlines(keepends=True)
    assert lines[-1].startswith("refused")
    told = acknowledged(lines)
    assert told
    assert len(holds(tmp_path / "a.db", told)) == 1 + len(told)
    with AuditLog(tmp_path / "a.db") as log:
        log.append([Entry("train") for _ in range(1000)])
    holds(tmp_path / "a.db", told)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(small_disk):
    told, more = [], [Entry("request", details={"text": "x" * 500})] * 20
    with AuditLog(small_disk / "a.db") as log:
        with pytest.raises(StorageError, match="full"):
            told.extend(log.append(more)[-1].number for _ in range(10**6))
        assert told
        assert log.size == told[-1]
        assert verify_log(log.database).whole
        (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
        with pytest.raises(StorageError):
            log.append(more)
        (small_disk / "filler").unlink()
        assert log.size == told[-1]


def test_threads_make_a_log_at_once(tmp_path):
    def made(n):
        with AuditLog(tmp_path / f"{n % 3}.db") as log:
            return n % 3, log.identity

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(made, range(6)))) == 3


def test_a_folder_that_is_no_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        AuditLog(tmp_path / "file" / "a.db")


def test_threads_share_a_log_and_a_writer(place):
    with AuditLog(place) as log, Writer(log) as writer, ThreadPoolExecutor(8) as pool:
        direct = pool.map(lambda n: log.append([Entry("train", name=str(n))])[0].number, range(20))
        written = pool.map(lambda n: writer.record(Entry("request", name=str(n))).number, range(200))
        numbers = [*direct, *written]
        assert sorted(numbers) == list(range(2, 222))
        assert verify_log(log.database).whole


def test_what_waits_is_written_together_and_in_order(log, monkeypatch):
    batches, began, gate, append = [], threading.Event(), threading.Event(), log.append

    def slow(entries):
        given = list(entries)
        batches.append([entry.name for entry in given])
        began.set()
        gate.wait(60)
        return append(given)

    monkeypatch.setattr(log, "append", slow)
    with Writer(log) as writer:
        futures = [writer.submit(Entry("request", name="0"))]
        began.wait(60)
        futures += [writer.submit(Entry("request", name=str(n))) for n in range(1, 50)]
        gate.set()
        records = [future.result(60) for future in futures]
    assert batches == [["0"], [str(n) for n in range(1, 50)]]
    assert [record.name for record in records] == [str(n) for n in range(50)]


def test_whoever_waits_learns_that_it_was_not_recorded(log, monkeypatch):
    def full(entries):
        raise StorageError("the disk is full")

    monkeypatch.setattr(log, "append", full)
    writer = Writer(log)
    with pytest.raises(StorageError, match="full"):
        writer.record(Entry("request"))
    monkeypatch.undo()
    assert writer.record(Entry("request")).number == log.size  # and goes on once there is room
    writer.close()
    writer.close()
    with pytest.raises(StorageError, match="closed"):
        writer.record(Entry("request"))


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_a_file_that_is_no_longer_there_takes_no_records(change, tmp_path):
    with AuditLog(tmp_path / "a.db") as log:
        log.append([Entry("train")])
        (tmp_path / "a.db").rename(tmp_path / "moved.db")
        if change == "replaced":
            AuditLog(tmp_path / "b.db").close()
            (tmp_path / "b.db").rename(tmp_path / "a.db")
        with pytest.raises(StorageError, match="removed or replaced"):
            log.append([Entry("train")])


def test_a_child_process_leaves_its_parents_connections_alone(log):
    log.append([Entry("train")])
    child = os.fork()
    if child == 0:
        try:
            log.append([Entry("train", name="child")])
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    log.append([Entry("train")])
    assert [record.name for record in log.read()] == ["", "", "child", ""]
    assert verify_log(log.database).whole
