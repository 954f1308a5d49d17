"""Formats that are recognised and not read here. They are never clean."""

from martensite.artifacts.scan.visit import Visit

NAME = "opaque"
MAGIC = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive", b"\x28\xb5\x2f\xfd": "zstandard data",
    b"\x04\x22\x4d\x18": "LZ4 data", b"\x1f\x9d": "data of compress", b"MSCF": "a cabinet archive", b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an OLE document", b"!<arch>": "an ar archive", b"PAR1": "a Parquet table", b"ARROW1": "an Arrow table",
    b"SQLite format 3": "an SQLite database",
}  # fmt: skip


def recognises(visit: Visit) -> bool:
    """By magic bytes."""
    return visit.head.startswith(tuple(MAGIC)) or visit.head[4:8] == b"TFL3"


def inspect(visit: Visit) -> None:
    """That it couldn't be judged."""
    what = next((name for magic, name in MAGIC.items() if visit.head.startswith(magic)), "a TensorFlow Lite model")
    visit.report("opaque", "unjudged", f"it is {what}, which isn't read here", "unpack or convert it, and scan what comes out")
