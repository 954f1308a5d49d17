"""The log as a file: its checkpoints, then a line of JSON a record, exactly the bytes that its hash is of.

``{"checkpoints": m, "format": "martensite-audit-1", "records": n}``, m Sigstore bundles, n records. Whoever has the file
can verify it without the database: each record names the hash of the line before.
"""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from martensite.artifacts.audit.checkpoint import Checkpoint
from martensite.artifacts.audit.entry import COLUMNS
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.merkle import leaf_hash
from martensite.artifacts.audit.scan import HEIGHT, Flaw, scan_rows
from martensite.artifacts.audit.verify import Chain, Verification, conclude, parsed
from martensite.artifacts.signing.keys import PublicKey
from martensite.artifacts.signing.trust import Trust
from martensite.core.config import canonical_json
from martensite.core.errors import ArtifactError
from martensite.core.files import whole_file

FORMAT = "martensite-audit-1"
LONGEST = 4 * 2**20  # bytes of a line
STRETCH = 1 << HEIGHT


def export_log(log: AuditLog, out: Path) -> int:
    """Write the whole log, without payloads; the number of records.

    Raises:
        StorageError: the disk refused it, and no file is left.
    """
    size, bundles = log.size, log.checkpoints()
    with whole_file(out) as file:
        for line in (canonical_json({"checkpoints": len(bundles), "format": FORMAT, "records": size}), *bundles):
            file.write(line.encode() + b"\n")
        for record in islice(log.read(), size):
            file.write(record.line() + b"\n")
    return size


def verify_export(path: Path, *, checkpoints: Sequence[Checkpoint] = (), by: PublicKey | Trust | None = None) -> Verification:
    """Verify an exported log, as `verify_log`.

    Raises:
        ArtifactError: the file can't be read, or is none.
    """
    began = time.monotonic()
    if not path.is_file():  # reading a pipe or a device might never end
        raise ArtifactError(f"{path} is no regular file", remedy="give the file of martensite audit export")
    try:
        with path.open("rb") as file:
            bundles, stated = _head(file, path)
            own, flaws = parsed(bundles)
            every = list(dict.fromkeys([*checkpoints, *own]))
            chain, size, rows = Chain({one.size for one in every}), 0, _rows(file)
            while stretch := list(islice(rows, STRETCH)):
                last = max(row[0] for row in stretch)
                chain.add(scan_rows(stretch, size + 1, last))
                size = max(size, last)
    except OSError as error:
        raise ArtifactError(
            f"{path} can't be read: {error.strerror}", remedy="give the file of martensite audit export"
        ) from None
    if size < stated:
        flaws.append(Flaw(size + 1, "truncated", f"the file says that it has {stated} records, and has {size}: it was cut"))
    return conclude(chain, size, flaws, every, by, began)


def _head(file: BinaryIO, path: Path) -> tuple[list[str], int]:
    """The checkpoints and the number of records."""
    try:
        head = json.loads(file.readline(LONGEST))
        if head["format"] != FORMAT:
            raise ValueError
        return [file.readline(LONGEST).decode(errors="replace") for _ in range(int(head["checkpoints"]))], int(head["records"])
    except (ValueError, LookupError, TypeError):
        rule = f"its first line says {FORMAT}"
        raise ArtifactError(f"{path} is no exported audit log", rule, "give the file of martensite audit export") from None


def _rows(file: BinaryIO) -> Iterator[tuple[Any, ...]]:
    """Records as the database has them; a line that is none stands for a record that was edited."""
    number = 0
    while raw := file.readline(LONGEST):
        content = raw.rstrip(b"\n")
        try:
            document = json.loads(content)
            row = [document[name] for name in COLUMNS[:-1]]
            row[10] = canonical_json(row[10])
            sound = type(row[0]) is int and row[0] > 0
        except (ValueError, LookupError, TypeError, RecursionError):
            sound = False
        number = row[0] if sound else number + 1
        yield (*row, leaf_hash(content).hex()) if sound else (number, *[None] * 13)
