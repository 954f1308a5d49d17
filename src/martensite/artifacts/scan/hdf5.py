"""HDF5, as Keras writes it: the model's configuration is JSON in an attribute, which HDF5 stores as it is.

Attributes are never compressed, so the documents are found in the bytes themselves, wherever they lie and also if no
directory names them.
"""

import re
from collections.abc import Iterator

from martensite.artifacts.scan.configuration import judge_json
from martensite.artifacts.scan.limits import LimitError
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Visit

NAME = "hdf5"
MAGIC = b"\x89HDF\r\n\x1a\n"
BLOCKS = (1 << 12, 1 << 16, 1 << 22)  # bytes that are read for one document; no longer one is followed
PATIENCE = 1 << 24  # bytes of documents that never end, looked at again and again: seconds
START = re.compile(rb'\{\s*"')
WORDS = re.compile(rb'"(Lambda|__lambda__|L\\u0061mbda|TorchModuleWrapper|function_type|auto_map)"')


def recognises(visit: Visit) -> bool:
    """By magic bytes."""
    return visit.head.startswith(MAGIC)


def inspect(visit: Visit) -> None:
    """Every JSON document in it."""
    judged = False
    for document in documents(visit.source):
        visit.tick()
        if judge_json(visit, document):
            judged = True
        elif WORDS.search(document):
            reason = "it holds a configuration that can't be read as JSON, with names of layers that hold code"
            visit.report("keras-lambda", "suspicious", reason, "load weights only, into layers that you know")
    if judged:
        visit.format = "keras-h5"


def documents(source: Source) -> Iterator[bytes]:
    """Every balanced ``{"...}``, not within one another.

    Raises:
        LimitError: more begin and never end than an honest file has.
    """
    offset, spent = 0, 0
    while (start := _find(source, offset)) >= 0:
        block, size, looked_at = b"", 0, 0
        for longest in BLOCKS:
            block = source.read(start, longest)
            size, looked_at = balanced(block)
            spent += 0 if size else looked_at
            if size or looked_at < len(block) or len(block) < longest:
                break
        if spent > PATIENCE:
            raise LimitError("it holds more documents without an end than can be followed")
        yield block[: size or min(looked_at, 4096)]
        offset = start + (size or 2)


def _find(source: Source, offset: int) -> int:
    before = b""
    for piece in source.chunks(offset):
        if match := START.search(before + piece):
            return offset - len(before) + match.start()
        offset += len(piece)
        before = piece[-16:]
    return -1


def balanced(block: bytes) -> tuple[int, int]:
    """(bytes until the first brace is closed, 0 if it never is; bytes that were looked at to tell)."""
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[{}]|[\0-\x08]', block, re.DOTALL):
        token = match[0]
        if token == b"{":
            depth += 1
        elif token == b"}":
            depth -= 1
            if depth == 0:
                return match.end(), match.end()
        elif token[:1] != b'"':
            return 0, match.end()
    return 0, len(block)
