"""Digests of files that were read before: a verifier need not read gigabytes again where a policy allows it, and only there.

What is kept is believed as far as the system can be believed to note a write: device, inode, size, and both times in nanoseconds
must be what they were. Setting a file's time back changes the other one (ctime), which only who sets the clock can choose. Who
writes through a mapping that he made before, or to the disk below the file system, goes unnoticed: hence never by default. The
file lies in a folder that nobody else can enter. Digests are kept, never verdicts: signature and signer are judged each time.
"""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

from martensite.artifacts.signing.tree import Measured, read_small, stamp
from martensite.core.config import canonical_json
from martensite.core.errors import ArtifactError, StorageError
from martensite.core.files import write_text

FORMAT = "martensite-digests-1"
LARGEST = 64 * 2**20
SETTLED = 2.0  # seconds since the last change, at least: FAT counts in those
MOST = 100_000  # files

Entry = tuple[tuple[int, ...], str, float]


def default_folder() -> Path:
    """``$MARTENSITE_CACHE/digests``, by default under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("MARTENSITE_CACHE")
    if home:
        return Path(home) / "digests"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "martensite" / "digests"


class Digests:
    """What was read before, in a private folder.

    Args:
        hours: How long a digest holds.
        folder: Where; None: `default_folder`. It is made with mode 0700.

    Raises:
        ArtifactError: others can enter the folder, or it isn't ours.
        StorageError: the disk refused it.
    """

    def __init__(self, hours: float, folder: Path | None = None) -> None:
        self._reused: list[Path] = []
        self._hours = hours
        self._file = _private(folder or default_folder()) / "digests.json"
        self._entries = self._read()
        self._new: dict[str, Entry] = {}

    def find(self, path: Path) -> str | None:
        """SHA-256 of a file that is as it was when it was read, in hex; None: it has to be read."""
        entry = self._entries.get(str(path.resolve()))
        try:
            status = path.lstat()
        except OSError:
            return None
        if entry is None or not stat.S_ISREG(status.st_mode) or stamp(status) != entry[0]:
            return None
        self._reused.append(path)
        return entry[1]

    @property
    def reused(self) -> int:
        """How many files were not read again."""
        return len(self._reused)

    def note(self, path: Path, measured: Measured) -> None:
        """Keep it, unless the file changed so lately that another change might bear the same time."""
        latest = max(measured.stamp[3:]) / 1e9
        if latest + SETTLED < measured.began:
            self._new[str(path.resolve())] = (measured.stamp, measured.digest, measured.began)

    def save(self) -> None:
        """Write what was noted; of two verifiers at once one's notes may be lost, and are made again.

        Raises:
            StorageError: the disk refused it.
        """
        if self._new:
            newest = sorted({**self._read(), **self._new}.items(), key=lambda item: -item[1][2])[:MOST]
            write_text(self._file, canonical_json({"format": FORMAT, "files": dict(newest)}) + "\n")

    def _read(self) -> dict[str, Entry]:
        """Entries that still hold; of a damaged file none does."""
        if self._file.is_symlink() or not self._file.is_file():
            return {}
        try:
            document = json.loads(read_small(self._file, "remove it", LARGEST))
            found = {str(name): _entry(*one) for name, one in document["files"].items()}
        except (ArtifactError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}
        now = time.time()
        return {name: one for name, one in found.items() if now - 3600 * self._hours < one[2] <= now}


def _entry(stamped: list[Any], digest: Any, when: Any) -> Entry:
    if len(stamped) != 5 or not all(type(one) is int for one in stamped):
        raise ValueError(stamped)
    if len(bytes.fromhex(digest)) != 32 or type(when) not in (int, float):
        raise ValueError(digest)
    return tuple(stamped), digest, when


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(f"{folder} can't be made: {error.strerror}", remedy="set MARTENSITE_CACHE") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ArtifactError(
            f"{folder} is open to others: mode {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid}",
            "what is believed of files lies where nobody else can write it",
            f"remove it, or chmod 700 {folder}",
        )
    return folder
