"""What unpacking may cost: beyond these a file is a bomb, or too large to be judged."""

from pydantic import PositiveInt

from martensite.core.config import Config


class Limits(Config):
    """Bounds for one scanned file, with all archives in it.

    Attributes:
        depth: Archives and pickles inside one another.
        members: Of all archives in the file together.
        unpacked: Bytes that decompression may write to temporary files.
        ratio: Largest unpacked size, as a multiple of the packed one, of a member above ``allowance``.
        allowance: Bytes that a member may unpack to at any ratio.
        header: Bytes of a text (JSON, a template, a tensor header) that is read as a whole.
        findings: Findings that are kept for one file; the first are.
    """

    depth: PositiveInt = 8
    members: PositiveInt = 100_000
    unpacked: PositiveInt = 8 * 2**30
    ratio: PositiveInt = 200
    allowance: PositiveInt = 64 * 2**20
    header: PositiveInt = 32 * 2**20
    findings: PositiveInt = 200


class LimitError(Exception):
    """Unpacking reached a limit; the scanner turns it into a finding."""
