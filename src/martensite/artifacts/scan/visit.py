"""One thing being looked at, a file or what lies in it, and all that a format may do about it."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from martensite.artifacts.scan.limits import LimitError, Limits
from martensite.artifacts.scan.report import RANK, Finding, Severity
from martensite.artifacts.scan.source import Source

HEAD = 512
IN_MEMORY = 8 * 2**20  # bytes of something unpacked before it goes to a temporary file


@dataclass
class Run:
    """What one file on the disk has cost and shown so far.

    Attributes:
        limits: Bounds of it.
        look: Recognises and inspects a visit.
        tick: Called now and then; tells of progress.
        findings: Without repeats, up to the limit.
        formats: What it and its members were recognised as.
        references: Names of other files that it loads as raw data.
        rank: Of the worst finding.
    """

    limits: Limits
    look: Callable[["Visit"], None]
    tick: Callable[[], None]
    findings: dict[Finding, None] = field(default_factory=dict)
    formats: dict[str, None] = field(default_factory=dict)
    references: set[str] = field(default_factory=set)
    rank: int = 0
    members: int = 0
    unpacked: int = 0


@dataclass
class Visit:
    """A format's view of what it inspects.

    Attributes:
        path: As findings show it.
        source: The bytes.
        run: Of the whole file.
        depth: Containers around it.
        raw: Its place says that it is mere data (a tensor's bytes): only what would act is worth a word.
        head: The first bytes.
        format: Set by the format that looks at it.
        kept: What a format's recognition leaves for its inspection.
    """

    path: str
    source: Source
    run: Run
    depth: int = 0
    raw: bool = False
    format: str = ""
    kept: dict[str, Any] = field(default_factory=dict)
    head: bytes = b""

    def __post_init__(self) -> None:
        self.head = self.source.read(0, HEAD)

    @property
    def limits(self) -> Limits:
        """Of the run."""
        return self.run.limits

    @property
    def name(self) -> str:
        """The last part of the path, in lower case."""
        return self.path.replace("!", "/").rsplit("/", 1)[-1].lower()

    def tick(self) -> None:
        """Time passes."""
        self.run.tick()

    def report(self, kind: str, severity: Severity, reason: str, remedy: str = "") -> None:
        """Say what was found, once. Beyond the limit only what is worse than all before is kept."""
        finding = Finding(path=_printable(self.path), kind=kind, severity=severity, reason=_printable(reason), remedy=remedy)
        if len(self.run.findings) < self.limits.findings or RANK[severity] > self.run.rank:
            self.run.findings[finding] = None
            self.run.rank = max(self.run.rank, RANK[severity])

    def enter(self, name: str, source: Source, raw: bool = False) -> None:
        """Look at a member.

        Raises:
            LimitError: too many members, or too deep.
        """
        self.run.members += 1
        if self.run.members > self.limits.members:
            raise LimitError(f"it has more than {self.limits.members:,} members")
        if self.depth + 1 > self.limits.depth:
            raise LimitError(f"things lie in one another more than {self.limits.depth} deep")
        self.tick()
        separator = "" if name.startswith("+") else "!"
        self.run.look(Visit(f"{self.path}{separator}{name[:300]}", source, self.run, self.depth + 1, raw))

    def enter_bytes(self, name: str, content: bytes) -> None:
        """Look at bytes that something was decoded to."""
        self.unpack(name, iter([content]), len(content), raw=True)

    def unpack(self, name: str, pieces: Iterable[bytes], packed: int, raw: bool = False) -> int:
        """Look at a member that is decompressed piece by piece; returns its size.

        Raises:
            LimitError: it is a bomb.
        """
        size = 0
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            for piece in pieces:
                size += len(piece)
                self.run.unpacked += len(piece)
                if size > self.limits.allowance and size > self.limits.ratio * max(1, packed):
                    raise LimitError(f"{name} unpacks to more than {self.limits.ratio} times its size")
                if self.run.unpacked > self.limits.unpacked:
                    raise LimitError(f"it unpacks to more than {self.limits.unpacked:,} bytes")
                file.write(piece)
                self.tick()
            self.enter(name, Source(cast(BinaryIO, file), 0, size), raw)
        return size

    def text(self) -> str | None:
        """All of it as text; None if it is too long or isn't UTF-8."""
        if self.source.size > self.limits.header:
            return None
        try:
            return self.source.read(0, self.source.size).decode("utf-8-sig")
        except UnicodeDecodeError:
            return None


def _printable(text: str) -> str:
    """No control characters, which could rewrite what a terminal shows, and no lone surrogates, which no JSON can hold."""
    return "".join(char if char.isprintable() else "?" for char in text[:1000])
