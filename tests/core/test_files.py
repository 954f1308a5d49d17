"""A file is whole or absent, whatever the disk or Ctrl-C does."""

import errno
import json
import os
import shutil

import pytest

from martensite.core.errors import StorageError
from martensite.core.files import sha256, whole_folder, write_bytes, write_json, write_text

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail(error):
    def refuse(*args, **kwargs):
        raise error

    return refuse


def names(folder):
    """Everything below, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_written_files_hold_what_was_given(tmp_path):
    write_bytes(tmp_path / "deep" / "er" / "file", b"\x00\xff")
    write_text(tmp_path / "text", "é\n")
    write_json(tmp_path / "json", {"é": [1.5, None]})
    assert (tmp_path / "deep/er/file").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8")) == {"é": [1.5, None]}
    assert names(tmp_path) == ["deep", "deep/er", "deep/er/file", "json", "text"]


def test_a_file_is_replaced(tmp_path):
    write_bytes(tmp_path / "file", b"old, and longer")
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call, old):
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    monkeypatch.setattr(os, call, fail(FULL))
    with pytest.raises(StorageError, match=r"file can't be written: No space left on device"):
        write_bytes(tmp_path / "file", b"new")
    monkeypatch.undo()
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or (tmp_path / "file").read_bytes() == old


def test_ctrl_c_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_places_that_cannot_hold_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for place in (tmp_path / "file" / "below", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match="can't be written"):
            write_bytes(place, b"new")
    assert names(tmp_path) == ["file", "folder", "folder/inside"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path, value):
    (tmp_path / "json").write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "json", {"x": value})
    assert (tmp_path / "json").read_text() == "old"
    assert names(tmp_path) == ["json"]


def test_sha256_of_a_known_vector():
    assert sha256(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# folders


def fill(path, content="new"):
    with whole_folder(path) as folder:
        (folder / "a").write_text(content)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(content)


def test_a_folder_appears_whole(tmp_path):
    with whole_folder(tmp_path / "up" / "out") as folder:
        (folder / "a").write_text("new")
        assert not (tmp_path / "up" / "out").exists()
    assert names(tmp_path) == ["up", "up/out", "up/out/a"]
    assert (tmp_path / "up/out").stat().st_mode & 0o777 == 0o755


def test_a_folder_is_replaced_not_merged(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").write_text("old")
    fill(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/a", "out/sub", "out/sub/b"]


class Boom(Exception):
    pass


@pytest.mark.parametrize(
    ("inside", "seen"),
    [(KeyboardInterrupt, KeyboardInterrupt), (Boom, Boom), (SystemExit, SystemExit), (FULL, StorageError)],
)
@pytest.mark.parametrize("old", [True, False])
def test_a_block_that_fails_leaves_the_old_folder(tmp_path, inside, seen, old):
    if old:
        fill(tmp_path / "out", "old")
    before = names(tmp_path)

    def broken_off():
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("new")
            raise inside

    with pytest.raises(seen):
        broken_off()
    assert names(tmp_path) == before
    assert not old or (tmp_path / "out/a").read_text() == "old"


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2])
def test_a_swap_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, error, at):
    fill(tmp_path / "out", "old")
    before, rename, calls = names(tmp_path), os.rename, []

    def faulty(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise error
        return rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", faulty)
    with pytest.raises(StorageError if error is FULL else KeyboardInterrupt):
        fill(tmp_path / "out")
    monkeypatch.undo()
    assert len(calls) >= at
    assert names(tmp_path) == before
    assert (tmp_path / "out/a").read_text() == "old"


def test_an_old_folder_that_resists_removal_is_no_failure(tmp_path, monkeypatch):
    fill(tmp_path / "out", "old")
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None if ignore_errors else fail(FULL)())
    fill(tmp_path / "out")
    assert (tmp_path / "out/a").read_text() == "new"


def test_a_file_in_the_way_is_unharmed(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(StorageError, match="a file is in the way"):
        fill(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_an_input_that_is_absent_is_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "out") as folder:
        (folder / "copy").write_bytes((tmp_path / "input").read_bytes())
    assert names(tmp_path) == []
    with pytest.raises(StorageError), whole_folder(tmp_path / "out") as folder:
        (folder / "absent" / "copy").write_bytes(b"")
    assert names(tmp_path) == []
