"""What glibc does with freed memory: hand it back, or keep it.

A search drops samples as they break, so its tensors have ever new sizes, and what the convolution library keeps for each of them
lies between. The holes that stay in the heap are free, but add up to several times what is in use at any moment: `trim`.

A server computes the same batch again and again. What glibc hands back after a batch it has to ask for at the next, a page fault
every four kilobytes, which doubles what a small network costs: `keep`.
"""

import ctypes
import os
from functools import cache
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
KEPT = 512 << 20  # bytes, free at the end of the heap
LARGEST = 32 << 20  # bytes of a block; above this, the most that glibc takes, each is a mapping of its own


def trim() -> None:
    """Hand what is free in the heap back to the system: glibc's ``malloc_trim``; with another C library nothing happens."""
    if (call := _of_libc("malloc_trim")) is not None:
        call(0)


def keep() -> bool:
    """Keep freed memory for the next batch: glibc's ``mallopt``, for the whole process, so that a program calls it, no library.

    Returns:
        Whether it was done: not with another C library, nor where the environment sets glibc's allocator up.
    """
    call, chosen = _of_libc("mallopt"), any(name.startswith("MALLOC_") for name in os.environ)
    if call is None or chosen or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return bool(call(MMAP_THRESHOLD, LARGEST) and call(TRIM_THRESHOLD, KEPT))


@cache
def _of_libc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # no symbols of the process itself: not on this system
        return None
