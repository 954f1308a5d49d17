"""Bytes to be looked at: a window on a file, so that what lies inside another thing is never copied to be read."""

from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20


class Source:
    """``size`` bytes of an open file from ``start`` on.

    Args:
        file: Open for reading in binary, seekable. Windows share it; whoever opened it closes it.
        start: First byte.
        size: Number of bytes.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, max(0, size)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes; fewer at the end."""
        count = min(count, self.size - offset)
        if offset < 0 or count <= 0:
            return b""
        self.file.seek(self.start + offset)
        return self.file.read(count)

    def window(self, offset: int, size: int) -> "Source":
        """A part of it, cut at the end."""
        offset = min(max(offset, 0), self.size)
        return Source(self.file, self.start + offset, min(size, self.size - offset))

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """All bytes from ``offset`` on, a MiB at a time."""
        while piece := self.read(offset, CHUNK):
            yield piece
            offset += len(piece)


class Reader:
    """Reads a source from front to back through a buffer, as the walk over a pickle's opcodes needs it."""

    def __init__(self, source: Source, offset: int = 0) -> None:
        self.source = source
        self._base = offset
        self._buffer = b""
        self._place = 0

    @property
    def position(self) -> int:
        """Offset in the source of the next byte."""
        return self._base + self._place

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes.

        Raises:
            EOFError: there are fewer.
        """
        place = self._place + count
        if place <= len(self._buffer):
            taken = self._buffer[self._place : place]
            self._place = place
            return taken
        if count > self.source.size - self.position:
            raise EOFError
        self._fill(count)
        return self.take(count)

    def buffered(self) -> tuple[bytes, int]:
        """What was read ahead, and the place of the next byte in it; for whoever goes on by `go_on`."""
        if len(self._buffer) - self._place < CHUNK // 16 and self._base + len(self._buffer) < self.source.size:
            self._fill(CHUNK)
        return self._buffer, self._place

    def go_on(self, place: int) -> None:
        """The next byte is at that place of what was `buffered`."""
        self._place = place

    def skip(self, count: int) -> None:
        """Go ``count`` bytes on.

        Raises:
            EOFError: there are fewer.
        """
        if count > self.source.size - self.position:
            raise EOFError
        if self._place + count <= len(self._buffer):
            self._place += count
        else:
            self._base, self._buffer, self._place = self.position + count, b"", 0

    def line(self, longest: int) -> bytes:
        """Up to and without the next newline.

        Raises:
            EOFError: no newline within ``longest`` bytes.
        """
        end = self._buffer.find(b"\n", self._place)
        if end < 0:
            self._fill(longest)
            end = self._buffer.find(b"\n", self._place)
        if end < 0:
            raise EOFError
        taken = self._buffer[self._place : end]
        self._place = end + 1
        return taken

    def _fill(self, count: int) -> None:
        start = self.position
        self._buffer = self.source.read(start, max(count, CHUNK))
        self._base, self._place = start, 0
