"""Files that are whole or absent: written under a temporary name, flushed, then renamed."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from martensite.core.errors import StorageError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part.

    Raises:
        StorageError: the disk refused it; the old file is unharmed and no temporary file stays.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file piece by piece under a temporary name; it takes its place only when the block ends without an error.

    Raises:
        StorageError: the disk refused it; the old file is unharmed and no temporary file stays.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        if temporary is not None:  # also on Ctrl-C
            temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Refuse a file that can't be written, before the work whose result it is to hold; nothing is left there.

    Raises:
        StorageError: the disk refuses it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _refused(path, error) from None


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, document: Any) -> None:
    """`write_text` of readable JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes its place only when the block ends without an error.

    A folder already at ``path`` is replaced.

    Raises:
        StorageError: the disk refused it; the old folder is unharmed and no temporary folder stays. An `OSError` about a file
            elsewhere (an input that the block could not read, say) is not ours to explain and passes.
    """
    staging = _staging(path)
    try:
        yield staging
        _swap(staging, path)
    except OSError as error:
        place = Path(str(error.filename))
        if error.filename is not None and not (place.is_relative_to(staging) or place.is_relative_to(path)):
            raise
        raise _refused(path, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _staging(path: Path) -> Path:
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        staging.chmod(0o755)
    except OSError as error:
        raise _refused(path, error) from None
    return staging


def _swap(staging: Path, path: Path) -> None:
    retired = staging.with_suffix(".old")
    try:
        if path.exists():
            path.rename(retired)
        staging.rename(path)
    finally:
        if retired.exists() and not path.exists():  # the second rename failed, or Ctrl-C came between the two
            retired.rename(path)
    shutil.rmtree(retired, ignore_errors=True)


def clear_litter(folder: Path) -> None:
    """Remove what a kill -9 left of unfinished writes right in a folder. Nobody else may be writing there."""
    for litter in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
        shutil.rmtree(litter) if litter.is_dir() else litter.unlink()


def sha256(content: bytes) -> str:
    """``"sha256:<hex>"`` of the bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} can't be written: {error.strerror or error}",
        "nothing half-written was left and the old file, if any, is unharmed",
        "free space or choose another place, then run again (a run directory continues with --resume)",
    )
