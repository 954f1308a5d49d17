"""Digests that are reused: only of files that nobody touched, only for so long, and from nowhere that others can write."""

import json
import os
import shutil
import time

import pytest

from martensite.artifacts.signing import Digests, PublicKey, sign_model, verify_model
from martensite.artifacts.signing import digests as module
from martensite.artifacts.signing.tree import digest_files, list_files
from martensite.core.errors import ArtifactError, SignatureError


@pytest.fixture
def old(model, monkeypatch):
    """The model, of files that didn't change lately."""
    monkeypatch.setattr(module, "SETTLED", -1e9)
    return model


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def key(old, ring, passphrase):
    sign_model(old, ring, passphrase, key="release")
    return PublicKey.parse(ring.record("release").public, "release")


def again(model, key, place, hours=1.0):
    """How many files weren't read."""
    known = Digests(hours, place)
    verify_model(model, key, known=known)
    known.save()
    return known.reused


def test_what_was_read_is_not_read_again(old, key, place, monkeypatch):
    assert again(old, key, place) == 0
    assert again(old, key, place) == 7
    assert place.stat().st_mode & 0o777 == 0o700
    assert verify_model(old, key).files == digest_files(list_files(old))


@pytest.mark.parametrize("name", ["weights", "a/c/d", "empty"])
def test_what_changed_is_read_again(name, old, key, place):
    again(old, key, place)
    path = old / name
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"X" if before.st_size else b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # set back, as by an attacker; ctime can't be
    with pytest.raises(SignatureError, match="was altered"):
        again(old, key, place)


def test_another_file_of_the_same_size_and_times(old, key, place):
    again(old, key, place)
    path = old / "weights"
    before = path.stat()
    other = old.parent / "other"
    other.write_bytes(b"X" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    with pytest.raises(SignatureError, match="was altered"):
        again(old, key, place)


def test_what_changed_lately_is_not_kept(model, ring, passphrase, place):
    """Another change within the file system's grain would bear the same time."""
    sign_model(model, ring, passphrase, key="release")
    key = PublicKey.parse(ring.record("release").public, "release")
    assert [again(model, key, place) for _ in range(2)] == [0, 0]


def test_files_signers_and_links_are_judged_each_time(old, key, place, ring):
    again(old, key, place)
    (old / "new").write_text("x")
    with pytest.raises(SignatureError, match="new is not signed"):
        again(old, key, place)
    (old / "new").unlink()
    with pytest.raises(SignatureError, match="not the signature"):
        again(old, PublicKey.parse(ring.record("evaluator").public, "it"), place)
    (old / "weights").rename(old.parent / "weights")
    (old / "weights").symlink_to(old.parent / "weights")
    with pytest.raises(ArtifactError, match="symbolic link"):
        again(old, key, place)


def test_a_digest_holds_for_so_long(old, key, place):
    again(old, key, place)
    file = place / "digests.json"
    document = json.loads(file.read_text())
    for shift, reused in ((3599, 7), (3601, 0), (-60, 0)):  # also none from the future
        aged = {name: [stamp, digest, time.time() - shift] for name, (stamp, digest, _) in document["files"].items()}
        file.write_text(json.dumps(document | {"files": aged}))
        known = Digests(1.0, place)
        verify_model(old, key, known=known)
        assert known.reused == reused


def test_a_forged_digest_hides_nothing_without_the_folder(old, key, place):
    """Who can write in the folder can lie; so nobody else may."""
    again(old, key, place)
    place.chmod(0o755)
    with pytest.raises(ArtifactError, match="open to others: mode 755"):
        Digests(1.0, place)
    place.chmod(0o770)
    with pytest.raises(ArtifactError, match="chmod 700"):
        Digests(1.0, place)
    shutil.rmtree(place)
    (place.parent / "theirs").mkdir(mode=0o700)
    place.symlink_to(place.parent / "theirs")
    with pytest.raises(ArtifactError, match="open to others"):
        Digests(1.0, place)


def test_a_folder_of_someone_elses(place, monkeypatch):
    place.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ArtifactError, match="owner"):
        Digests(1.0, place)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"files": []}', '{"files": {"x": 1}}', '{"files": {"x": [[1, 2, 3, 4, 5], "00", 1.0]}}',
        "[" * 100_000,
        '{"files": {"x": [[1, 2, 3, 4], "' + "0" * 64 + '", 1.0]}}', '{"files": {"x": [[1, 2, 3, 4, 5], 7, 1.0]}}',
    ],
)  # fmt: skip
def test_of_a_damaged_file_nothing_is_believed(content, old, key, place):
    again(old, key, place)
    (place / "digests.json").write_text(content)
    assert again(old, key, place) == 0
    assert again(old, key, place) == 7


def test_a_link_or_pipe_in_place_of_the_file(old, key, place):
    again(old, key, place)
    file = place / "digests.json"
    file.rename(place / "elsewhere")
    file.symlink_to(place / "elsewhere")
    assert again(old, key, place) == 0
    file.unlink()
    os.mkfifo(file)
    assert Digests(1.0, place).find(old / "weights") is None


def test_a_file_that_changes_while_it_is_read_is_refused(model, monkeypatch):
    """Between the first read and the last."""
    import hashlib

    path, real = model / "weights", hashlib.sha256

    def meddle():
        path.write_bytes(b"other")
        return real()

    monkeypatch.setattr("martensite.artifacts.signing.tree.hashlib.sha256", meddle)
    with pytest.raises(ArtifactError, match="changed while it was read"):
        digest_files({"weights": path})
