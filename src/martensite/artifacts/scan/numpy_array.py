"""numpy's .npy: raw numbers behind a small header, or a pickle if the array holds objects.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import re

from martensite.artifacts.scan.visit import Visit

NAME = "npy"
LONGEST = 10_000  # characters of a header that numpy reads
OBJECTS = re.compile(r"['\"][<>|=]?O\d*['\"]")
AXES = re.compile(r"['\"]shape['\"]\s*:\s*\(([\d\s,L]*)\)")
SIMPLE = re.compile(r"['\"]descr['\"]\s*:\s*['\"][<>|=]?([a-zA-Z])(\d*)['\"]")


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
    header = visit.source.read(8 + width, length).decode("latin-1")
    if OBJECTS.search(header) or "\\" in header:  # an escape could hide the letter
        visit.report(
            "npy-objects", "suspicious", "it holds Python objects, for which numpy needs allow_pickle=True", "save plain numbers"
        )
        visit.enter(f"+{start}", visit.source.window(start, visit.source.size))
        return
    axes, kind = AXES.search(header), SIMPLE.search(header)
    if axes is None:
        visit.report("npy-broken", "unjudged", "its header has no shape", "fetch it again")
    elif kind is not None:
        items = 1
        for axis in re.findall(r"\d+", axes[1]):
            items *= int(axis[:20])
        size = items * int(kind[2] or 1) * (4 if kind[1] == "U" else 1)
        if size < visit.source.size - start:
            visit.report(
                "npy-trailing", "suspicious", f"{visit.source.size - start - size:,} bytes follow the array", "save it anew"
            )
            visit.enter(f"+{start + size}", visit.source.window(start + size, visit.source.size), raw=True)
        elif size > visit.source.size - start:
            visit.report("npy-broken", "unjudged", f"it is truncated: {size:,} bytes of numbers are stated", "fetch it again")
