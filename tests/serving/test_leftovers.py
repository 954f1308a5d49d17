"""Private folders of servers that were killed: the next start removes them, and nothing else."""

import os
import subprocess
import sys
import tempfile
import time

import pytest

from martensite.serving.leftovers import PREFIX, own_folder, sweep
from martensite.serving.sealed import Sealed

LIVES = """
import sys
from pathlib import Path
from martensite.serving.sealed import Sealed
sealed = Sealed(Path("bundle"))
sealed.claims.write_text("{}")
print(sealed.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder for temporary files of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_servers_folder_goes_and_a_living_ones_stays(place):
    mine = Sealed(place / "bundle")
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        [sys.executable, "-c", LIVES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as other:
        theirs = other.stdout.readline().strip()
        assert os.path.isdir(theirs)
        assert sweep() == 0
        other.kill()
    assert os.path.isdir(theirs)
    assert sweep() == 1
    assert not os.path.exists(theirs)
    assert mine.folder.is_dir()
    mine.drop()
    assert not mine.folder.exists()


def test_links_files_other_modes_and_new_folders_are_left_alone(place):
    treasure = place / "treasure"
    treasure.mkdir(mode=0o700)
    (treasure / "owner").write_text("")
    (place / f"{PREFIX}link").symlink_to(treasure)
    (place / f"{PREFIX}file").write_text("")
    (place / f"{PREFIX}open").mkdir()
    (place / f"{PREFIX}open").chmod(0o755)
    (place / f"{PREFIX}new").mkdir(mode=0o700)
    (place / f"{PREFIX}sly").mkdir(mode=0o700)
    (place / f"{PREFIX}sly" / "owner").symlink_to(treasure / "owner")
    before = sorted(place.iterdir())
    assert sweep() == 0
    assert sorted(place.iterdir()) == before
    assert (treasure / "owner").exists()
    old = time.time() - 7200
    os.utime(place / f"{PREFIX}new", (old, old))  # of a version that had no locks
    assert sweep() == 1
    assert not (place / f"{PREFIX}new").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_another_users_folder_is_left_alone(place):
    folder, descriptor = own_folder()
    os.close(descriptor)
    os.chown(folder, 12345, 12345)
    assert sweep() == 0
    assert folder.is_dir()
    assert sweep(place / "nowhere") == 0


def test_what_is_in_a_leftover_is_not_followed(place):
    keep = place / "keep"
    keep.mkdir()
    (keep / "data").write_text("1")
    folder, descriptor = own_folder()
    os.close(descriptor)
    (folder / "out").symlink_to(keep)
    assert sweep() == 1
    assert (keep / "data").read_text() == "1"
