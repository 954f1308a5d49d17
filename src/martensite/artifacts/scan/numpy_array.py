"""numpy's .npy: raw numbers behind a small header, or a pickle if the array holds objects.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import ast
import math
import re

from martensite.artifacts.scan.visit import Visit

NAME = "npy"
LONGEST = 10_000  # characters of a header that numpy reads
# Numbers, texts, bytes, times. Every other type, "object" spelled out among them, may be one that numpy unpickles.
PLAIN = re.compile(r"[<>|=]?([biufcmMSUV?])(\d*)(\[\d*[a-zA-Z]+\])?")


def recognises(visit: Visit) -> bool:
    """By magic bytes."""
    return visit.head[:6] == b"\x93NUMPY"


def inspect(visit: Visit) -> None:
    """A header that says "objects" means that loading unpickles what follows."""
    version = visit.head[6:7]
    width = 2 if version == b"\1" else 4
    length = int.from_bytes(visit.head[8 : 8 + width], "little")
    start = 8 + width + length
    if version not in (b"\1", b"\2", b"\3") or start > visit.source.size:
        visit.report("npy-broken", "unjudged", "its header is broken", "fetch it again")
        return
    if length > LONGEST:
        visit.report("npy-header", "suspicious", f"its header has {length:,} bytes, more than numpy reads", "fetch it again")
        return
    try:
        header = ast.literal_eval(visit.source.read(8 + width, length).decode("latin-1").strip())
        kind, shape = header["descr"], header["shape"]
    except (ValueError, SyntaxError, MemoryError, RecursionError, LookupError, TypeError):
        visit.report("npy-broken", "unjudged", "its header is broken", "fetch it again")
        return
    rest = visit.source.size - start
    size = _item_size(kind)
    if size is None:
        reason = "it holds Python objects, for which numpy needs allow_pickle=True"
        visit.report("npy-objects", "suspicious", reason, "save plain numbers")
        visit.enter(f"+{start}", visit.source.window(start, rest))
    elif not isinstance(shape, tuple) or not all(type(axis) is int and 0 <= axis < 2**63 for axis in shape) or len(shape) > 64:
        visit.report("npy-broken", "unjudged", "its header has no shape", "fetch it again")
    elif (size := size * math.prod(shape)) < rest:
        visit.report("npy-trailing", "suspicious", f"{rest - size:,} bytes follow the array", "save it anew")
        visit.enter(f"+{start + size}", visit.source.window(start + size, rest), raw=True)
    elif size > rest:
        visit.report("npy-broken", "unjudged", f"it is truncated: {size:,} bytes of numbers are stated", "fetch it again")


def _item_size(kind: object) -> int | None:
    """Bytes of one item; None if it may be an object."""
    if isinstance(kind, str):
        found = PLAIN.fullmatch(kind)
        return None if found is None else int(found[2] or 1) * (4 if found[1] == "U" else 1)
    if not isinstance(kind, list):
        return None
    total = 0
    for field in kind:
        size = _item_size(field[1]) if isinstance(field, tuple) and len(field) in (2, 3) else None
        if size is None:
            return None
        axes = field[2] if len(field) == 3 else ()
        axes = axes if isinstance(axes, tuple) else (axes,)
        if not all(type(axis) is int for axis in axes):
            return None
        total += size * math.prod(axes)
    return total
