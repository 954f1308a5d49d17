"""Decompression in pieces of a MiB, however far a byte inflates."""

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Any

from martensite.artifacts.scan.source import Source

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14


def unpacked(source: Source, method: int) -> Iterator[bytes]:
    """Decompressed in pieces of a MiB, however far a byte inflates."""
    if method == DEFLATED:
        yield from inflated(source, zlib.decompressobj(-15))
    elif method == BZIP2:
        yield from expanded(source, bz2.BZ2Decompressor())
    else:
        size = int.from_bytes(source.read(2, 2), "little")
        properties = source.read(4, size)
        settings = {
            "id": lzma.FILTER_LZMA1,
            "dict_size": min(int.from_bytes(properties[1:5], "little"), 64 * 2**20),
            "lc": properties[0] % 9,
            "lp": properties[0] // 9 % 5,
            "pb": properties[0] // 45,
        }
        yield from expanded(source.window(4 + size, source.size), lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings]))


def inflated(source: Source, machine: Any) -> Iterator[bytes]:
    """What a zlib decompressor makes of it."""
    for piece in source.chunks():
        while piece and not machine.eof:
            yield machine.decompress(piece, 1 << 20)
            piece = machine.unconsumed_tail
        if machine.eof:
            return
    yield machine.flush()


def expanded(source: Source, machine: Any) -> Iterator[bytes]:
    """What a bz2 or lzma decompressor makes of it."""
    for piece in source.chunks():
        yield machine.decompress(piece, 1 << 20)
        while not machine.eof and not machine.needs_input:
            yield machine.decompress(b"", 1 << 20)
        if machine.eof:
            return
