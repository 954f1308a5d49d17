"""Protocol buffers without their schemas: fields by number, a length read and never trusted.

https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator

from martensite.artifacts.scan.source import Source

VARINT, WIDE, BYTES, NARROW = 0, 1, 2, 5


class BadMessage(Exception):
    """The bytes are no message."""


def fields(source: Source) -> Iterator[tuple[int, int | Source]]:
    """(number, varint or the window of its bytes) of every field; fixed ones are passed over.

    Raises:
        BadMessage: bytes that are no field, or a length beyond the end.
    """
    place = 0
    while place < source.size:
        head = source.read(place, 24)
        tag, used = _varint(head, 0)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise BadMessage
        if kind == VARINT:
            value, used = _varint(head, used)
            yield number, value
            place += used
        elif kind == BYTES:
            size, used = _varint(head, used)
            if place + used + size > source.size:
                raise BadMessage
            yield number, source.window(place + used, size)
            place += used + size
        elif kind in (WIDE, NARROW):
            place += used + (8 if kind == WIDE else 4)
            if place > source.size:
                raise BadMessage
        else:
            raise BadMessage


def _varint(block: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(block):
            raise BadMessage
        byte = block[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise BadMessage


def inside(source: Source, *path: int) -> Iterator[Source]:
    """Every submessage that lies at that path of field numbers."""
    for number, value in fields(source):
        if number == path[0] and isinstance(value, Source):
            if len(path) == 1:
                yield value
            else:
                yield from inside(value, *path[1:])


def text(source: Source, longest: int = 1024) -> str:
    """Its bytes as text, cut."""
    return source.read(0, longest).decode("utf-8", "replace")
