"""Private folders, and what a server that was killed leaves of them: the next one that starts clears it away.

Whoever lives holds a lock on a file in its folder, which the kernel takes from the dead.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX, OWNER = "martensite-serve-", "owner"
YOUNG = 3600.0  # seconds in which a folder without a lock may be one that is just being made


def own_folder() -> tuple[Path, int]:
    """A new folder of mode 0700, and the descriptor whose lock says that it is in use; closing it gives the folder up.

    Raises:
        OSError: there is no room for it.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return folder, descriptor
        os.close(descriptor)  # a server that started just now took it for a leftover


def sweep(place: Path | None = None) -> int:
    """Remove the folders whose owners are gone: this user's own, real folders of mode 0700, and no others.

    Args:
        place: Where they are; None: the folder for temporary files.

    Returns:
        How many were removed.
    """
    with suppress(OSError), os.scandir(place or tempfile.gettempdir()) as found:
        return sum(_removed(Path(one.path)) for one in found if one.name.startswith(PREFIX))
    return 0


def _removed(folder: Path) -> bool:
    try:
        seen = os.lstat(folder)
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) != 0o700:
            return False
        try:
            descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            if time.time() - seen.st_mtime > YOUNG:
                shutil.rmtree(folder)
                return True
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)
    except OSError:  # somebody lives in it, or it can't be removed
        return False
    return True
