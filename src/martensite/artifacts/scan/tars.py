"""Tar archives, read header by header (POSIX.1-2017 pax, ustar, GNU)."""

from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.zips import escapes

NAME = "tar"
BLOCK = 512
LONGEST = 1 << 20  # bytes of a pax header or a long name
FILE, HARD, SYMBOLIC = b"0\0007", b"1", b"2"


def recognises(visit: Visit) -> bool:
    """Magic at byte 257, or the checksum of a header from before there was one."""
    return visit.head[257:262] == b"ustar" or (len(visit.head) == BLOCK and bool(visit.head[0]) and _checksum_holds(visit.head))


def inspect(visit: Visit) -> None:
    """Every member."""
    offset, name, size_stated, link = 0, "", -1, ""
    while True:
        header = visit.source.read(offset, BLOCK)
        if len(header) < BLOCK or not header.strip(b"\0"):
            break
        if not _checksum_holds(header):
            visit.report("tar-broken", "unjudged", f"the header at byte {offset} is broken", "fetch it again")
            return
        size = max(0, _number(header[124:136])) if size_stated < 0 else size_stated
        kind, start = header[156:157], offset + BLOCK
        offset = start + (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            content = visit.source.read(start, min(size, LONGEST))
            if size > LONGEST:
                visit.report("tar-header", "suspicious", f"a header of it has {size:,} bytes", "ask for a plain archive")
            if kind == b"L":
                name = _text(content)
            elif kind == b"K":
                link = _text(content)
            else:
                stated = _pax(content)
                name, link = stated.get("path", name), stated.get("linkpath", link)
                size_stated = int(stated["size"]) if stated.get("size", "").isdigit() else -1
                if any(key.startswith("GNU.sparse") for key in stated):
                    visit.report("tar-sparse", "unjudged", "it holds a sparse file", "unpack it, and scan what comes out")
            continue
        prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
        name = name or "/".join(part for part in (prefix, _text(header[:100])) if part)
        _member(visit, name, kind, link or _text(header[157:257]), start, size)
        name, size_stated, link = "", -1, ""
    rest = visit.source.size - offset
    if rest > 0 and any(piece.strip(b"\0") for piece in visit.source.chunks(offset)):
        visit.report("tar-hidden", "suspicious", f"{rest:,} bytes follow its end", "ask for a plain archive")
        visit.enter(f"+{offset}", visit.source.window(offset, rest), raw=True)


def _member(visit: Visit, name: str, kind: bytes, link: str, start: int, size: int) -> None:
    if escapes(name.replace("\\", "/")):
        reason = f"member {name} would be written outside the folder it is unpacked to"
        visit.report("path-escape", "dangerous", reason, "don't unpack it")
    if kind in (HARD, SYMBOLIC):
        out = escapes(link.replace("\\", "/"))
        where = "outside the folder" if out else "elsewhere"
        reason = f"member {name} is a link to {link}, through which others may be read or written {where}"
        visit.report("archive-link", "dangerous" if out else "suspicious", reason, "don't unpack it")
    elif kind in (b"3", b"4", b"6"):
        visit.report("archive-device", "suspicious", f"member {name} is a device or a pipe", "don't unpack it")
    elif kind in (b"0", b"\0", b"7"):
        if start + size > visit.source.size:
            visit.report("tar-broken", "unjudged", f"member {name} is truncated", "fetch it again")
        visit.enter(name, visit.source.window(start, size))
    elif kind != b"5":
        visit.report(
            "tar-kind", "unjudged", f"member {name} is of a kind that isn't known here", "unpack it, and scan what comes out"
        )


def _checksum_holds(header: bytes) -> bool:
    blank = header[:148] + b" " * 8 + header[156:]
    stated = _number(header[148:156])
    return stated > 0 and stated in (sum(blank), sum(blank) - 256 * sum(byte > 127 for byte in blank))


def _number(field: bytes) -> int:
    """Octal text, or GNU's base 256; -1 if it is neither."""
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    return int(digits, 8) if digits and all(48 <= byte <= 55 for byte in digits) else 0 if not digits else -1


def _pax(content: bytes) -> dict[str, str]:
    stated: dict[str, str] = {}
    while content:
        length = content.partition(b" ")[0]
        if not length.isdigit() or not 0 < int(length[:9]) <= len(content):
            break
        key, _, value = content[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        stated[_text(key)] = _text(value)
        content = content[int(length) :]
    return stated


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
