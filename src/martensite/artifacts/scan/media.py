"""Pictures and sounds: data that no model loader runs."""

from martensite.artifacts.scan.visit import Visit

NAME = "media"
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"fLaC", b"OggS", b"ID3")


def recognises(visit: Visit) -> bool:
    """By magic bytes."""
    head = visit.head
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"))


def inspect(visit: Visit) -> None:
    """Nothing to say; what hides behind it, the scan for archives finds."""
