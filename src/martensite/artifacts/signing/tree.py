"""The files of a model, each with its SHA-256: only regular files, only folders that hold some, no links of any kind."""

import hashlib
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from martensite.core.errors import ArtifactError

CHUNK = 2**20
DEEPEST = 100  # folders in folders


def list_files(path: Path, *, besides: Path | None = None) -> dict[str, Path]:
    """Name (relative, POSIX; ``"."`` for a single file) to path, sorted as the model-signing format sorts.

    Args:
        path: A folder or a file.
        besides: A file in it that does not count: the signature itself.

    Raises:
        ArtifactError: a link, a pipe, a device, an empty folder, or nothing at all: what no signature can speak of.
    """
    if path.is_symlink():
        raise ArtifactError(f"{path} is a symbolic link", "a signature covers files, not where links point", "give its target")
    if path.is_file():
        return {".": path}
    found: dict[PurePosixPath, Path] = {}
    _walk(path, PurePosixPath(), found, besides.resolve() if besides is not None else None)
    return {str(name): found[name] for name in sorted(found)}


class Known(Protocol):
    """Digests of files that nobody can have changed since; none is known unless a policy allows it."""

    def find(self, path: Path) -> str | None:
        """SHA-256 in hex; None: it isn't known."""

    def note(self, path: Path, measured: "Measured") -> None:
        """This was found."""


@dataclass(frozen=True)
class Measured:
    """What was read of a file.

    Attributes:
        digest: SHA-256, in hex.
        stamp: Device, inode, size, and times (ns) of the last change of content and of anything; the same before and after.
        began: When, in seconds since 1970.
    """

    digest: str
    stamp: tuple[int, ...]
    began: float


def digest_files(files: dict[str, Path], known: Known | None = None) -> dict[str, str]:
    """Name to SHA-256 in hex, several files at a time (hashing leaves the interpreter's lock).

    Args:
        files: Name to path.
        known: What need not be read again.

    Raises:
        ArtifactError: a file that can't be read, is no regular file any more, or changes while it is read.
    """

    def digest(path: Path) -> str:
        found = known.find(path) if known is not None else None
        if found is not None:
            return found
        measured = measure(path)
        if known is not None:
            known.note(path, measured)
        return measured.digest

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(files, pool.map(digest, files.values()), strict=True))


def measure(path: Path) -> Measured:
    """Read a regular file; links are not followed. Raises as `digest_files`."""
    began = time.time()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ArtifactError(f"{path} is no regular file", "only regular files are signed", "remove it")
            hasher = hashlib.sha256()
            buffer = memoryview(bytearray(CHUNK))
            while count := file.readinto(buffer):
                hasher.update(buffer[:count])
            after = os.fstat(descriptor)
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="fetch the model again") from None
    if stamp(before) != stamp(after):
        raise ArtifactError(f"{path} changed while it was read", "a model must hold still", "try again when nobody writes to it")
    return Measured(hasher.hexdigest(), stamp(before), began)


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """What differs once a file was written to, as far as the system tells."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_small(path: Path, remedy: str, largest: int) -> bytes:
    """The content of a regular file of at most ``largest`` bytes; a link to one is followed.

    Raises:
        ArtifactError: missing, unreadable, too large, a folder, a pipe or a device.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{path} is no regular file", remedy=remedy)
            content = file.read(largest + 1)
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy=remedy) from None
    if len(content) > largest:
        raise ArtifactError(f"{path} is too large", f"such a file has at most {largest} bytes", remedy)
    return content


def root_digest(digests: dict[str, str]) -> str:
    """The digest of a whole model: SHA-256 over its files' digests, in order (model-signing v1.0, subject)."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()


def _walk(folder: Path, name: PurePosixPath, found: dict[PurePosixPath, Path], besides: Path | None) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ArtifactError(f"{folder} can't be read: {error.strerror}", remedy="give a bundle folder or a file") from None
    before = len(found)
    if len(name.parts) > DEEPEST:
        raise ArtifactError(f"{folder} lies deeper than {DEEPEST} folders", "no model does", "remove it")
    for entry in entries:
        if not entry.name.isprintable():
            raise ArtifactError(f"{entry.path!r} has a name that can't be shown", "names are printable Unicode", "rename it")
        path, mode = Path(entry.path), entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            _walk(path, name / entry.name, found, besides)
        elif not stat.S_ISREG(mode):
            kind = "symbolic link" if stat.S_ISLNK(mode) else "pipe, a socket or a device"
            raise ArtifactError(f"{path} is a {kind}", "only regular files are signed", "put the file itself there")
        elif besides is None or path.resolve() != besides:
            found[name / entry.name] = path
    if len(found) == before:
        raise ArtifactError(f"{folder} is an empty folder", "no signature speaks of what holds no file", "remove it")
