"""Zip archives, torch's and Keras's among them, read by two ways that must agree: the directory at the end and the local headers.

PKWARE APPNOTE 6.3.10. Loaders differ in which of the two they believe, in what they do about a wrong checksum and about the
encryption flag; whatever one of them might unpack is looked at here.
"""

import lzma
import re
import zlib
from collections.abc import Iterator

from martensite.artifacts.scan import torchscript
from martensite.artifacts.scan.unpacking import BZIP2, DEFLATED, LZMA, STORED, unpacked
from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.zip_index import (
    END,
    LOCAL,
    STREAMED,
    TAIL,
    End,
    Entry,
    by_headers,
    data_offset,
    directory,
    find_end,
    local_header,
)

NAME = "zip"
ENCRYPTED = 0x1
WIDE = 76  # bytes of the end record and locator of large archives
TENSOR = re.compile(r"(^|/)data/\d+$")  # torch's name for a tensor's bytes
AGAIN = "fetch it again, or ask whoever made it for a plain archive"


def recognises(visit: Visit) -> bool:
    """It begins with a member, or with the end of an empty archive."""
    return visit.head[:4] in (LOCAL, END, b"PK\7\x08")


def appended(visit: Visit) -> None:
    """An archive behind something else: whoever opens the file as a zip finds its members."""
    found = find_end(visit.source)
    if found is None or (found.count == 0 and visit.raw):
        return
    reason = "a zip archive lies behind the rest of it, and programs that look for one find it"
    visit.report("polyglot", "suspicious", reason, "ask whoever made it for a file of one format")
    inspect(visit)


def inspect(visit: Visit) -> None:
    """Every member, by whichever way it can be found."""
    source, end = visit.source, find_end(visit.source)
    entries = [] if end is None else list(directory(source, end))
    if end is None or len(entries) != end.count or not entries:
        if not (end is not None and end.count == 0 and source.size <= TAIL):
            visit.report(
                "zip-broken", "suspicious", "its directory is missing or broken, and some programs read it regardless", AGAIN
            )
        listed = {entry.offset for entry in entries}
        entries += [entry for entry in by_headers(source) if entry.offset not in listed]
    if end is not None and end.doubt:
        visit.report("zip-mismatch", "suspicious", "its two end records differ: programs differ in which they believe", AGAIN)
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


def _check_layout(visit: Visit, entries: list[Entry], end: End | None) -> set[int]:
    """Offsets of entries that don't overlap others; reports what overlaps, differs or hides between them."""
    free, covered, gap = 0, set[int](), 0
    for entry in sorted(entries, key=lambda one: one.offset):
        local = local_header(visit.source, entry.offset)
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
        free = data_offset(visit.source, entry) + entry.packed
        covered.add(entry.offset)
    if end is not None and entries:
        gap = max(gap, end.directory - free - 24, end.place - end.directory - end.size - WIDE)
        trailing = visit.source.size - end.place - 22
        if visit.head[:4] == LOCAL and gap > 0:
            visit.report("zip-hidden", "suspicious", f"{gap:,} bytes belong to no member", AGAIN)
            _hidden(visit, {entry.offset for entry in entries})
        if trailing > TAIL:
            visit.report("zip-hidden", "suspicious", f"{trailing:,} bytes follow the archive", AGAIN)
    return covered


def _hidden(visit: Visit, listed: set[int]) -> None:
    for entry in by_headers(visit.source):
        if entry.offset not in listed:
            visit.report("zip-hidden", "suspicious", f"member {entry.name} isn't in the directory", AGAIN)
            _member(visit, entry, raw=True)


def _member(visit: Visit, entry: Entry, raw: bool) -> None:
    packed = visit.source.window(data_offset(visit.source, entry), entry.packed)
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
            visit.unpack(entry.name, state.of(unpacked(packed, entry.method)), entry.packed, raw)
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


def escapes(name: str) -> bool:
    """Whether a member of that name would be written outside its folder."""
    return name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name) is not None or "\0" in name
