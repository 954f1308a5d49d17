"""Zip archives, torch's and Keras's among them, read by two ways that must agree: the directory at the end and the local headers.

PKWARE APPNOTE 6.3.10. Loaders differ in which of the two they believe, in what they do about a wrong checksum and about the
encryption flag; whatever one of them might unpack is looked at here.
"""

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from martensite.artifacts.scan import torchscript
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Visit

NAME = "zip"
LOCAL, CENTRAL, END, END64, LOCATOR64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
TAIL = 65_535 + 22
UNSET32, ENCRYPTED, STREAMED = 0xFFFFFFFF, 0x1, 0x8
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
DIRECTORY = 64 * 2**20  # bytes of the largest directory that is read
TENSOR = re.compile(r"(^|/)data/\d+$")  # torch's name for a tensor's bytes
AGAIN = "fetch it again, or ask whoever made it for a plain archive"


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


def recognises(visit: Visit) -> bool:
    """It begins with a member, or with the end of an empty archive."""
    return visit.head[:4] in (LOCAL, END, b"PK\7\x08")


def appended(visit: Visit) -> None:
    """An archive behind something else: whoever opens the file as a zip finds its members."""
    found = _end(visit.source)
    if found is None or (found[2] == 0 and visit.raw):
        return
    reason = "a zip archive lies behind the rest of it, and programs that look for one find it"
    visit.report("polyglot", "suspicious", reason, "ask whoever made it for a file of one format")
    inspect(visit)


def inspect(visit: Visit) -> None:
    """Every member, by whichever way it can be found."""
    source, end = visit.source, _end(visit.source)
    entries = [] if end is None else list(_directory(source, end))
    if end is None or len(entries) != end[2] or not entries:
        if not (end is not None and end[2] == 0 and source.size <= TAIL):
            visit.report(
                "zip-broken", "suspicious", "its directory is missing or broken, and some programs read it regardless", AGAIN
            )
        listed = {entry.offset for entry in entries}
        entries += [entry for entry in _by_headers(source) if entry.offset not in listed]
    _check_names(visit, entries)
    script = torchscript.holds_code([entry.name for entry in entries])
    if script:
        visit.format = torchscript.NAME
        torchscript.report(visit)
    elif any(entry.name.endswith("data.pkl") for entry in entries):
        visit.format = "torch"
    covered = _check_layout(visit, entries, end)
    if len(entries) > visit.limits.members:
        entries = entries[: visit.limits.members + 1]  # entering them reports the limit
    for entry in entries:
        if entry.offset in covered and not entry.name.endswith("/"):
            _member(visit, entry, visit.format in ("torch", torchscript.NAME) and TENSOR.search(entry.name) is not None)


def _end(source: Source) -> tuple[int, int, int, int] | None:
    """(offset of the end record, offset of the directory, entries, what offsets in the directory are relative to)."""
    start = max(0, source.size - TAIL)
    tail = source.read(start, TAIL)
    place = tail.rfind(END)
    while place >= 0:
        if len(tail) - place >= 22:
            count, size, offset = struct.unpack("<10xHII2x", tail[place : place + 22])
            at = start + place
            if UNSET32 in (size, offset) or count == 0xFFFF:
                count, size, offset, at = _end64(source, at) or (count, size, offset, at)
            base = at - size - offset  # what was put before the archive
            if size <= at and base >= 0 and (count == 0 or source.read(at - size, 4) == CENTRAL):
                return start + place, at - size, count, base
            if count and source.read(offset, 4) == CENTRAL:
                return start + place, offset, count, 0
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


def _directory(source: Source, end: tuple[int, int, int, int]) -> Iterator[Entry]:
    _, offset, count, base = end
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
            found = [number for (number,) in struct.iter_unpack("<Q", extra[place + 4 : place + 4 + size // 8 * 8])]
            break
        place += 4 + size
    return tuple(found.pop(0) if value == UNSET32 and found else value for value in values)


def _by_headers(source: Source) -> Iterator[Entry]:
    """Members by their local headers, as programs find them that read a stream."""
    offset = 0
    for _ in range(100_000):
        entry = _local(source, offset)
        if entry is None:
            offset = _search(source, offset + 1)
            if offset < 0 or (entry := _local(source, offset)) is None:
                return
        yield entry
        offset = max(_data(source, entry) + entry.packed, offset + 30)


def _search(source: Source, offset: int) -> int:
    before = b""
    for piece in source.chunks(offset):
        place = (before + piece).find(LOCAL)
        if place >= 0:
            return offset - len(before) + place
        offset += len(piece)
        before = piece[-3:]
    return -1


def _local(source: Source, offset: int) -> Entry | None:
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


def _data(source: Source, entry: Entry) -> int:
    record = source.read(entry.offset, 30)
    if len(record) < 30:
        return source.size
    name_size, extra_size = struct.unpack("<26xHH", record)
    return entry.offset + 30 + int(name_size) + int(extra_size)


def _check_names(visit: Visit, entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.name.replace("\\", "/")
        if escapes(name):
            reason = f"member {entry.name} would be written outside the folder it is unpacked to"
            visit.report("path-escape", "dangerous", reason, "don't unpack it")
        if (entry.attributes >> 16) & 0o170000 == 0o120000:
            reason = f"member {entry.name} is a link, through which others may be written elsewhere"
            visit.report("archive-link", "suspicious", reason, "don't unpack it")
        if entry.name in seen:
            reason = f"two members are called {entry.name}: programs differ in which they read"
            visit.report("duplicate-member", "suspicious", reason, AGAIN)
        seen.add(entry.name)


def _check_layout(visit: Visit, entries: list[Entry], end: tuple[int, int, int, int] | None) -> set[int]:
    """Offsets of entries that don't overlap others; reports what overlaps, differs or hides between them."""
    free, covered, gap = 0, set[int](), 0
    for entry in sorted(entries, key=lambda one: one.offset):
        local = _local(visit.source, entry.offset)
        if local is None:
            visit.report("zip-broken", "suspicious", f"member {entry.name} has no header where the directory says", AGAIN)
            continue
        if local.name != entry.name:
            reason = f"member {entry.name} is called {local.name} in its own header: programs differ in which they believe"
            visit.report("zip-mismatch", "suspicious", reason, AGAIN)
        if entry.offset < free:
            visit.report("zip-overlap", "suspicious", f"member {entry.name} overlaps another: such an archive is a bomb", AGAIN)
            continue
        gap = max(gap, entry.offset - free - (24 if free else 0))  # a data descriptor may follow a member
        free = _data(visit.source, entry) + entry.packed
        covered.add(entry.offset)
    if end is not None and entries:
        gap = max(gap, end[1] - free - 24)
        trailing = visit.source.size - end[0] - 22
        if visit.head[:4] == LOCAL and gap > 0:
            visit.report("zip-hidden", "suspicious", f"{gap:,} bytes belong to no member", AGAIN)
            _hidden(visit, {entry.offset for entry in entries})
        if trailing > TAIL:
            visit.report("zip-hidden", "suspicious", f"{trailing:,} bytes follow the archive", AGAIN)
    return covered


def _hidden(visit: Visit, listed: set[int]) -> None:
    for entry in _by_headers(visit.source):
        if entry.offset not in listed:
            visit.report("zip-hidden", "suspicious", f"member {entry.name} isn't in the directory", AGAIN)
            _member(visit, entry, raw=True)


def _member(visit: Visit, entry: Entry, raw: bool) -> None:
    packed = visit.source.window(_data(visit.source, entry), entry.packed)
    if entry.flags & ENCRYPTED:
        visit.report(
            "zip-encrypted",
            "suspicious",
            f"member {entry.name} says that it is encrypted; some programs read it regardless",
            AGAIN,
        )
    if packed.size < entry.packed and not entry.flags & STREAMED:
        visit.report("zip-broken", "unjudged", f"member {entry.name} is truncated", AGAIN)
    state = _Checksum()
    try:
        if entry.method == STORED:
            for piece in packed.chunks():
                state.add(piece)
                visit.tick()
            visit.enter(entry.name, packed, raw)
        elif entry.method in (DEFLATED, BZIP2, LZMA):
            visit.unpack(entry.name, state.of(_unpacked(packed, entry.method)), entry.packed, raw)
        else:
            reason = f"member {entry.name} is packed by method {entry.method}, which isn't known here"
            visit.report("zip-method", "unjudged", reason, "unpack it, and scan what comes out")
            return
    except (zlib.error, lzma.LZMAError, EOFError, ValueError):
        visit.report("zip-broken", "unjudged", f"member {entry.name} can't be unpacked", AGAIN)
        return
    if entry.crc and state.value != entry.crc and not entry.flags & ENCRYPTED:
        reason = f"member {entry.name} has a wrong checksum: it was altered, or is hidden from programs that check"
        visit.report("zip-checksum", "suspicious", reason, AGAIN)


class _Checksum:
    """CRC-32 of what passes."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, piece: bytes) -> None:
        self.value = zlib.crc32(piece, self.value)

    def of(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.add(piece)
            yield piece


def _unpacked(source: Source, method: int) -> Iterator[bytes]:
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


def escapes(name: str) -> bool:
    """Whether a member of that name would be written outside its folder."""
    return name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name) is not None or "\0" in name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
