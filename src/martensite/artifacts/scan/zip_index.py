"""Where a zip archive's members lie: by the directory at its end, and by the header before each member.

PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (end records).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from martensite.artifacts.scan.source import Source

LOCAL, CENTRAL, END, END64, LOCATOR64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
TAIL = 65_535 + 22
UNSET32, STREAMED = 0xFFFFFFFF, 0x8
DIRECTORY = 64 * 2**20  # bytes of the largest directory that is read


@dataclass(frozen=True)
class Entry:
    """One member as the directory, or a local header, states it."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    attributes: int = 0


@dataclass(frozen=True)
class End:
    """The archive's end record.

    Attributes:
        place: Of the record.
        directory: Offset of the directory.
        size: Of the directory.
        count: Members.
        base: What offsets in the directory are relative to.
        doubt: A record for large archives says something else: programs differ in which they believe.
    """

    place: int
    directory: int
    size: int
    count: int
    base: int
    doubt: bool = False


def find_end(source: Source) -> End | None:
    """The last record that leads to a directory."""
    start = max(0, source.size - TAIL)
    tail = source.read(start, TAIL)
    place = tail.rfind(END)
    while place >= 0:
        if len(tail) - place >= 22:
            count, size, offset = struct.unpack("<10xHII2x", tail[place : place + 22])
            at = start + place
            wide, doubt = _end64(source, at), False
            if wide is not None:
                doubt = any(
                    small not in (large, unset)
                    for small, large, unset in zip((count, size, offset), wide[:3], (0xFFFF, UNSET32, UNSET32), strict=True)
                )
                count, size, offset, at = wide
            base = at - size - offset  # what was put before the archive
            if size <= at and base >= 0 and (count == 0 or source.read(at - size, 4) == CENTRAL):
                return End(start + place, at - size, size, count, base, doubt)
            if count and source.read(offset, 4) == CENTRAL:
                return End(start + place, offset, size, count, 0, doubt)
        place = tail.rfind(END, 0, place)
    return None


def _end64(source: Source, at: int) -> tuple[int, int, int, int] | None:
    locator = source.read(at - 20, 20) if at >= 20 else b""
    if locator[:4] != LOCATOR64:
        return None
    for place in (struct.unpack("<Q", locator[8:16])[0], at - 20 - 56):
        record = source.read(place, 56) if place >= 0 else b""
        if record[:4] == END64:
            count, size, offset = struct.unpack("<32xQQQ", record)
            return count, size, offset, place
    return None


def directory(source: Source, end: End) -> Iterator[Entry]:
    """The members that the directory lists, as far as it can be read."""
    offset, count, base = end.directory, end.count, end.base
    block = source.read(offset, DIRECTORY)
    place = 0
    for _ in range(min(count, len(block) // 46 + 1)):
        record = block[place : place + 46]
        if len(record) < 46 or record[:4] != CENTRAL:
            return
        fields: tuple[Any, ...] = struct.unpack("<4xHHHHHHIIIHHHHHII", record)
        flags, method, crc, packed, size = fields[2], fields[3], fields[6], fields[7], fields[8]
        name_size, extra_size, comment_size, attributes, local = fields[9], fields[10], fields[11], fields[14], fields[15]
        name = block[place + 46 : place + 46 + name_size]
        extra = block[place + 46 + name_size : place + 46 + name_size + extra_size]
        size, packed, local = _wide(extra, size, packed, local)
        yield Entry(_text(name), flags, method, crc, packed, size, local + base, attributes)
        place += 46 + name_size + extra_size + comment_size


def _wide(extra: bytes, *values: int) -> tuple[int, ...]:
    """Values that don't fit in 32 bits lie in the extra field 1, in this order."""
    found: list[int] = []
    place = 0
    while place + 4 <= len(extra):
        kind, size = struct.unpack("<HH", extra[place : place + 4])
        if kind == 1:
            body = extra[place + 4 : place + 4 + size]  # which a cut file cuts, too
            found = [number for (number,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
            break
        place += 4 + size
    return tuple(found.pop(0) if value == UNSET32 and found else value for value in values)


def by_headers(source: Source) -> Iterator[Entry]:
    """Members by their local headers, as programs find them that read a stream."""
    offset = 0
    for _ in range(100_000):
        entry = local_header(source, offset)
        if entry is None:
            offset = _search(source, offset + 1)
            if offset < 0 or (entry := local_header(source, offset)) is None:
                return
        yield entry
        offset = max(data_offset(source, entry) + entry.packed, offset + 30)


def _search(source: Source, offset: int) -> int:
    before = b""
    for piece in source.chunks(offset):
        place = (before + piece).find(LOCAL)
        if place >= 0:
            return offset - len(before) + place
        offset += len(piece)
        before = piece[-3:]
    return -1


def local_header(source: Source, offset: int) -> Entry | None:
    record = source.read(offset, 30)
    if len(record) < 30 or record[:4] != LOCAL:
        return None
    _, flags, method, _, _, crc, packed, size, name_size, extra_size = struct.unpack("<4xHHHHHIIIHH", record)
    name = source.read(offset + 30, name_size)
    size, packed = _wide(source.read(offset + 30 + name_size, extra_size), size, packed)
    if flags & STREAMED and not packed:
        packed = source.size - offset - 30 - name_size - extra_size  # it says so behind the data: to the end, at most
        size = packed
    return Entry(_text(name), flags, method, crc, packed, size, offset)


def data_offset(source: Source, entry: Entry) -> int:
    record = source.read(entry.offset, 30)
    if len(record) < 30:
        return source.size
    name_size, extra_size = struct.unpack("<26xHH", record)
    return entry.offset + 30 + int(name_size) + int(extra_size)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
