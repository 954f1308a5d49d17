"""GGUF: its metadata are walked for chat templates, and its sizes for what lies outside the file.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct

from martensite.artifacts.scan.source import Reader
from martensite.artifacts.scan.templates import LONGEST, judge_template
from martensite.artifacts.scan.visit import Visit

NAME = "gguf"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
MOST_KEYS, MOST_TENSORS, DEEPEST = 100_000, 1_000_000, 4
AGAIN = "fetch it again"


def recognises(visit: Visit) -> bool:
    """By magic bytes."""
    return visit.head[:4] == b"GGUF"


def inspect(visit: Visit) -> None:
    """Every key, and where each tensor is said to lie."""
    reader = Reader(visit.source, 4)
    try:
        (version,) = struct.unpack("<I", reader.take(4))
        if version not in (2, 3):
            visit.report("gguf-version", "unjudged", f"version {version} isn't known here", "convert it to version 3")
            return
        tensors, keys = struct.unpack("<QQ", reader.take(16))
        if keys > MOST_KEYS or tensors > MOST_TENSORS:
            visit.report("gguf-size", "suspicious", f"it states {keys:,} keys and {tensors:,} tensors", AGAIN)
            return
        for _ in range(keys):
            key = _string(reader)
            _value(visit, reader, key, _u32(reader), 0)
            visit.tick()
        for _ in range(tensors):
            _tensor(visit, reader)
    except EOFError:
        visit.report("gguf-broken", "suspicious", "sizes in its header lead out of the file", AGAIN)
    except ValueError as error:
        visit.report("gguf-broken", "unjudged", str(error), AGAIN)


def _u32(reader: Reader) -> int:
    return int.from_bytes(reader.take(4), "little")


def _string(reader: Reader) -> str:
    size = int.from_bytes(reader.take(8), "little")
    if size > LONGEST:
        reader.skip(size)
        return ""
    return reader.take(size).decode("utf-8", "replace")


def _value(visit: Visit, reader: Reader, key: str, kind: int, depth: int) -> None:
    if kind == STRING:
        start = reader.position
        text = _string(reader)
        if "template" in key or "{%" in text or "{{" in text:
            judge_template(visit, text)
        if "template" in key and not text and reader.position - start > LONGEST:
            visit.report("template-size", "suspicious", "its chat template is longer than any", "replace it")
    elif kind == ARRAY:
        inner, count = _u32(reader), int.from_bytes(reader.take(8), "little")
        if inner in SIZES:
            reader.skip(SIZES[inner] * count)
            return
        if depth >= DEEPEST or count > reader.source.size:
            raise ValueError(f"the array {key[:60]} can't be followed")
        for _ in range(count):
            _value(visit, reader, key, inner, depth + 1)
    elif kind in SIZES:
        reader.skip(SIZES[kind])
    else:
        raise ValueError(f"key {key[:60]} is of type {kind}, which isn't known here")


def _tensor(visit: Visit, reader: Reader) -> None:
    name, axes = _string(reader), _u32(reader)
    if axes > 8:
        raise ValueError(f"tensor {name[:60]} has {axes} axes")
    reader.skip(8 * axes + 4)
    offset = int.from_bytes(reader.take(8), "little")
    if offset > visit.source.size:
        visit.report("gguf-range", "suspicious", f"tensor {name} lies outside the file", AGAIN)
