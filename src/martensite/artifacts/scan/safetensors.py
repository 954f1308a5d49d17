"""safetensors: a JSON header that must describe the bytes behind it exactly, without gap, overlap or repeat.

https://huggingface.co/docs/safetensors, "Format". A parser that is laxer than another reads other tensors from the same file.
"""

import math
from typing import Any, TypeGuard

from martensite.artifacts.scan.documents import BadDocument, Repeats, parse
from martensite.artifacts.scan.visit import Visit

NAME = "safetensors"
LONGEST = 100_000_000  # bytes of a header that the reference reads
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64,
    "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
AGAIN = "fetch it again, or have it saved anew by the safetensors library"


def recognises(visit: Visit) -> bool:
    """A length, then a brace; or a file of that name, which is at least a broken one."""
    if visit.head[8:9] == b"{":
        return visit.head[6:8] == b"\0\0"
    return visit.name.endswith(".safetensors") and visit.depth == 0 and visit.head[:2] != b"PK"


def inspect(visit: Visit) -> None:
    """The header against the bytes."""
    length = int.from_bytes(visit.head[:8], "little")
    if len(visit.head) < 8 or 8 + length > visit.source.size:
        reason = f"its header should have {length:,} bytes, more than the file has"
        visit.report("safetensors-header", "suspicious", reason, AGAIN)
        return
    if length > LONGEST:
        visit.report("safetensors-header", "suspicious", f"its header has {length:,} bytes, more than any reader takes", AGAIN)
        return
    if length > visit.limits.header:
        visit.report("safetensors-header", "suspicious", f"its header has {length:,} bytes, more than any model needs", AGAIN)
        return
    try:
        header = parse(visit.source.read(8, length))
    except BadDocument as error:
        visit.report("safetensors-header", "suspicious", f"its header is no JSON: {error}", AGAIN)
        return
    if not isinstance(header, dict):
        visit.report("safetensors-header", "suspicious", "its header is no mapping", AGAIN)
        return
    if isinstance(header, Repeats):
        visit.report(
            "safetensors-repeat", "suspicious", f"its header has {header.first} twice: readers differ in which they take", AGAIN
        )
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
                visit.report("safetensors-header", "suspicious", "its metadata isn't text by name", AGAIN)
            continue
        if isinstance(entry, Repeats):
            visit.report("safetensors-repeat", "suspicious", f"tensor {name} has {entry.first} twice", AGAIN)
        span = _span(visit, name, entry)
        if span is not None:
            spans.append((*span, name))
    _check_layout(visit, sorted(spans), visit.source.size - 8 - length)


def _span(visit: Visit, name: str, entry: Any) -> tuple[int, int] | None:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or entry.get("dtype") not in BITS:
        visit.report("safetensors-tensor", "suspicious", f"tensor {name} isn't described by dtype, shape and offsets", AGAIN)
        return None
    if set(entry) - {"dtype", "shape", "data_offsets"}:
        visit.report("safetensors-tensor", "suspicious", f"tensor {name} has keys that the format doesn't know", AGAIN)
    begin, end = offsets
    if len(shape) > 64 or 8 * (end - begin) != math.prod(shape) * BITS[entry["dtype"]]:
        reason = f"tensor {name} of shape {str(shape)[:100]} and {entry['dtype']} has {end - begin:,} bytes"
        visit.report("safetensors-tensor", "suspicious", reason, AGAIN)
    return begin, end


def _check_layout(visit: Visit, spans: list[tuple[int, int, str]], size: int) -> None:
    free = 0
    for begin, end, name in spans:
        if end > size or begin > end:
            visit.report("safetensors-range", "suspicious", f"tensor {name} lies outside the file", AGAIN)
        elif begin < free:
            visit.report("safetensors-overlap", "suspicious", f"tensor {name} overlaps another", AGAIN)
        elif begin > free:
            visit.report("safetensors-gap", "suspicious", f"{begin - free:,} bytes before tensor {name} belong to none", AGAIN)
        free = max(free, end)
    if free < size:
        visit.report("safetensors-gap", "suspicious", f"{size - free:,} bytes at its end belong to no tensor", AGAIN)
        visit.enter(f"+{visit.source.size - size + free}", visit.source.window(visit.source.size - size + free, size), raw=True)


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)
