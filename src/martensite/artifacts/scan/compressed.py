"""A compressed stream, as joblib and tar write them: gzip, zlib, bz2, xz, lzma."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from martensite.artifacts.scan.unpacking import expanded, inflated
from martensite.artifacts.scan.visit import Visit

NAME = "compressed"
MEMORY = 256 * 2**20  # bytes that an xz stream may ask for
MAGIC: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY),
    b"]\0\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, MEMORY),
}
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x78\x3f", b"\x58\x85", b"\x68\x81")


def recognises(visit: Visit) -> bool:
    """By magic bytes; zlib has two bytes only, so that some of it must unpack as well."""
    if any(visit.head.startswith(magic) for magic in MAGIC):
        return True
    if visit.head[:2] not in ZLIB:
        return False
    try:
        return bool(zlib.decompressobj().decompress(visit.head, 16))
    except zlib.error:
        return False


def inspect(visit: Visit) -> None:
    """What it holds; several streams in a row are one content."""
    make = next((make for magic, make in MAGIC.items() if visit.head.startswith(magic)), zlib.decompressobj)
    visit.unpack("content", _all(visit, make), visit.source.size, visit.raw)


def _all(visit: Visit, make: Callable[[], Any]) -> Iterator[bytes]:
    source = visit.source
    magic = next((magic for magic in MAGIC if visit.head.startswith(magic)), b"")
    for _ in range(visit.limits.members):
        machine = make()
        unpack = expanded if hasattr(machine, "needs_input") else inflated
        try:
            yield from unpack(source, machine)
        except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            visit.report(
                "compressed-broken", "unjudged", f"it can't be unpacked to its end: {type(error).__name__}", "fetch it again"
            )
            return
        if not machine.eof:
            visit.report("compressed-broken", "unjudged", "it is truncated", "fetch it again")
            return
        rest = _rest(visit, source, machine)
        if rest is None:
            return
        source = source.window(rest, source.size)
        if not magic or source.read(0, len(magic)) != magic:
            reason = f"{source.size:,} bytes follow the compressed stream"
            visit.report("compressed-trailing", "suspicious", reason, "ask whoever made it what they are")
            visit.enter(f"+{source.start - visit.source.start}", source, raw=True)
            return


def _rest(visit: Visit, source: Any, machine: Any) -> int | None:
    """Offset of what follows the stream; padding with zeros doesn't count."""
    unused = machine.unused_data
    consumed_pieces = source.file.tell() - source.start
    rest = consumed_pieces - len(unused)
    if rest >= source.size or not any(piece.strip(b"\0") for piece in source.chunks(rest)):
        return None
    return int(rest)
