"""Freed memory, given back to the system.

A search drops samples as they break, so its tensors have ever new sizes, and what the convolution library keeps for each of them
lies between. The holes that stay in the heap are free, but add up to several times what is in use at any moment.
"""

import ctypes
from functools import cache
from typing import Any


def trim() -> None:
    """Hand what is free in the heap back to the system: glibc's ``malloc_trim``; with another C library nothing happens."""
    if (call := _malloc_trim()) is not None:
        call(0)


@cache
def _malloc_trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no symbols of the process itself: not on this system
        return None
