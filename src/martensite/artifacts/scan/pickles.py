"""Pickles: plain, several in a row, torch's old format, joblib's with arrays between the opcodes."""

import re
import warnings

from martensite.artifacts.scan.imports import judge, reaches_system
from martensite.artifacts.scan.joblib_arrays import following
from martensite.artifacts.scan.plainly import report_plain
from martensite.artifacts.scan.symbols import Global
from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.walk import Walk, walk

NAME = "pickle"
TORCH_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
MOST = 10_000  # pickles in a row
LOADS_BYTES = "torch.storage._load_from_bytes"
UNSAFE = "don't load it; get the weights as safetensors from whoever made it"
UNKNOWN_IMPORT = "load it only if you know that name and trust the file; better, ask for safetensors"


def recognises(visit: Visit) -> bool:
    """A stream of opcodes. Protocols 0 and 1 have no magic bytes: there, and in raw data, only what would act is a pickle."""
    head = visit.head[:2]
    if visit.head[:4] in (
        b"",
        b"PK\3\4",
        b"PK\5\6",
        b"PK\7\x08",
    ):  # as a pickle, an archive begins with a persistent id, at which every plain unpickler stops
        return False
    found = walk(visit.source, skip=following)
    visit.kept["walk"] = found
    if _active(found) or _active_later(visit, found):
        return True
    if visit.raw:  # data that happens to be a pickle does nothing, but what lies in it may
        return found.finished and found.sound and head[:1] == b"\x80"
    if head[:1] == b"\x80" and len(head) == 2 and head[1] <= 5:
        return found.finished or found.opcodes > 2
    return found.finished and found.end == visit.source.size


def _active(found: Walk) -> bool:
    return found.acted or any(reaches_system(thing.module) for thing in found.reached)


def _active_later(visit: Visit, found: Walk) -> bool:
    """Whether one of the pickles after it acts: torch's old loader, for one, reads several in a row, whatever their protocol."""
    for _ in range(MOST):
        if not (found.finished and found.sound and found.end < visit.source.size):
            return False
        visit.tick()
        found = walk(visit.source, found.end, following)
        if _active(found):
            return True
    return True


def inspect(visit: Visit) -> None:
    """Every pickle of the file, and what its texts and bytes hold."""
    first = visit.kept.get("walk")
    walks = [first if isinstance(first, Walk) else walk(visit.source, skip=following)]
    legacy = TORCH_MAGIC in visit.head[:16]
    if legacy:
        visit.format = "torch-legacy"
    _report(visit, walks[0])
    while walks[-1].finished and walks[-1].end < visit.source.size and len(walks) < MOST and not (legacy and len(walks) == 5):
        further = walk(visit.source, walks[-1].end, following)
        if not (further.finished or further.acts):
            break
        visit.tick()
        walks.append(further)
        _report(visit, further)
    if any(found.arrays for found in walks):
        report_plain(visit, walks)
    end = walks[-1].end
    if walks[-1].finished and end < visit.source.size and not legacy and not visit.raw:
        count = visit.source.size - end
        visit.report(
            "pickle-trailing", "suspicious", f"{count:,} bytes come after the pickle's end", "ask whoever made it what they are"
        )
        visit.enter(f"+{end}", visit.source.window(end, count), raw=True)


def _report(visit: Visit, found: Walk) -> None:
    called = {callee[0] for _, callee in found.calls if isinstance(callee, tuple)}
    for thing in found.imports:
        _judge(visit, thing, found, called)
    for how, callee in found.calls:
        if not isinstance(callee, tuple):
            reason = f"{how} calls {callee}, so what it runs is decided while it is loaded"
            visit.report("pickle-call", "suspicious", reason, UNKNOWN_IMPORT)
    for target in found.builds:
        if isinstance(target, Global):
            reason = f"it changes {target}, which belongs to the program that loads it"
            visit.report("pickle-build", "dangerous", reason, UNSAFE)
    if found.hidden:
        reason = f"it imports {found.hidden} names that it computes, so that they can't be read"
        visit.report("pickle-hidden-import", "dangerous", reason, UNSAFE)
    for code in found.extensions:
        reason = f"it imports number {code} of the copyreg registry: what that is depends on the program that loads it"
        visit.report("pickle-extension", "suspicious", reason, UNKNOWN_IMPORT)
    if found.overflow:
        visit.report("pickle-size", "suspicious", "it names more things than a model does", UNKNOWN_IMPORT)
    if found.protocol > 5:
        visit.report(
            "pickle-protocol", "unjudged", f"it states protocol {found.protocol}; 5 is the last known", "scan it again later"
        )
    if not found.sound and not visit.raw:
        visit.report("pickle-broken", "suspicious", "it takes more from its stack than it put there", UNKNOWN_IMPORT)
    if not found.finished and "size of the array" in found.why:
        reason = f"what it holds can't be followed: {found.why}, and joblib itself writes what can be"
        visit.report("pickle-array", "suspicious", reason, UNKNOWN_IMPORT)
    elif not found.finished and not visit.raw:
        visit.report("pickle-broken", "unjudged", f"it is no whole pickle: {found.why}", "fetch it again")
    loads = any(str(thing) == LOADS_BYTES for thing in found.imports)
    for offset, size in found.blobs:
        _nested(visit, offset, size, loads)


def _judge(visit: Visit, thing: Global, found: Walk, called: set[Global]) -> None:
    if str(thing) == LOADS_BYTES:
        if any(how == "REDUCE" and isinstance(callee, tuple) and callee == (thing, False) for how, callee in found.calls):
            reason = f"{thing} loads a second file that the pickle computes"
            visit.report("pickle-import", "dangerous", reason, UNSAFE)
        return  # bytes that lie in the pickle are scanned as what they are
    severity, reason = judge(thing.module, thing.name)
    if severity != "clean":
        verb = "calls" if thing in called else "imports"
        remedy = UNSAFE if severity == "dangerous" else UNKNOWN_IMPORT
        visit.report("pickle-import", severity, f"it {verb} something: {reason}", remedy)


def _nested(visit: Visit, offset: int, size: int, loads: bool) -> None:
    """What lies in a text or in bytes; a text in UTF-8 may stand for bytes, one a character.

    ``loads``: something here loads bytes, so that these are a file of their own, however they begin.
    """
    head = visit.source.read(offset, 4)
    source = visit.source.window(offset, size)
    if (loads or head[:2] == b"\xc2\x80") and size <= visit.limits.header:
        try:
            content = source.read(0, size).decode().encode("latin-1")
        except UnicodeError:
            content = b""
        if content and (content[:1] == b"\x80" or loads):
            visit.enter_bytes(f"+{offset}", content)
    if _begins(head) or loads:
        visit.enter(f"+{offset}", source, raw=True)
    if size <= visit.limits.header and b"\\" in source.read(0, 4096):  # a text of protocol 0 writes its bytes as escapes
        content = source.read(0, size)
        for coding in ("raw_unicode_escape", "unicode_escape"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # an unknown escape is a mistake in source code, not here
                    plain = content.decode(coding).encode("latin-1")
            except UnicodeError:
                continue
            if plain != content and _begins(plain[:4]):
                visit.enter_bytes(f"+{offset}", plain)


def _begins(head: bytes) -> bool:
    """Whether a pickle or an archive may begin so."""
    return head[:1] == b"\x80" or head[:2] == b"PK" or _looks_active(head)


def _looks_active(head: bytes) -> bool:
    """First opcodes of a pickle of protocol 0 or 1 that does something: GLOBAL, MARK, a dict or list to be filled."""
    return bool(re.match(rb"c[a-zA-Z_]|\([cildtSVXUI]|[\]}][(q.]|\(\(", head))
