"""Checkpoints: the log's size and Merkle root at one moment, signed.

Whoever keeps one outside can tell a log that was cut or rewritten.

A checkpoint is an in-toto statement in a Sigstore bundle, as all that is signed here, by a key of the role ``auditor``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from martensite.artifacts.audit.entry import DIGEST
from martensite.artifacts.moments import now, read_moment, write_moment
from martensite.artifacts.signing.dsse import STATEMENT, read_envelope, read_object, seal
from martensite.artifacts.signing.keys import PublicKey, Signer
from martensite.artifacts.signing.tree import read_small
from martensite.artifacts.signing.trust import Trust
from martensite.core.errors import ArtifactError, ConfigError, SignatureError

PREDICATE = "https://martensite/checkpoint/v1"
LARGEST = 64 * 2**20  # bytes of a file of checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says; believed once `refusal` has nothing to say against it.

    Attributes:
        log: Hash of the log's first record.
        size: Number of records.
        root: Of the Merkle tree over them, in hex.
        created: By the signer's clock.
        bundle: The signed whole, as one line of JSON.
    """

    log: str
    size: int
    root: str
    created: datetime
    bundle: str

    @classmethod
    def sign(cls, log: str, size: int, root: str, key: Signer) -> "Checkpoint":
        """State it."""
        created = now()
        subject = {"name": "audit log", "digest": {"sha256": root}}
        predicate = {"log": log, "size": size, "root": root, "created": write_moment(created)}
        statement = {"_type": STATEMENT, "subject": [subject], "predicateType": PREDICATE, "predicate": predicate}
        return cls(log, size, root, created, seal(statement, key))

    @classmethod
    def parse(cls, bundle: str, source: str) -> "Checkpoint":
        """Read one; ``source`` says in messages where it stood.

        Raises:
            SignatureError: it is none.
        """
        return cls(*_content(read_object(read_envelope(bundle, source).payload, source), source), bundle)

    def refusal(self, by: PublicKey | Trust) -> str:
        """Why it does not count, or ``""``: it must be signed by this key, or by one that is trusted as an auditor's."""
        envelope = read_envelope(self.bundle, "the checkpoint")
        key: PublicKey
        if isinstance(by, PublicKey):
            key = by
        else:
            trusted = by.find(envelope.hint)
            if trusted is None:
                return f"it is signed by the unknown key {envelope.hint[:12]!r}"
            if refusal := trusted.refusal("auditor", self.created):
                return refusal
            key = trusted.key
        try:
            envelope.open(key)
        except SignatureError as error:
            return error.value
        return ""


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """All of a file, one a line.

    Raises:
        ArtifactError: the file can't be read, or is empty.
        SignatureError: a line is no checkpoint.
    """
    lines = (
        read_small(path, "give the file that martensite audit checkpoint wrote", LARGEST).decode(errors="replace").splitlines()
    )
    found = [Checkpoint.parse(line, f"line {place} of {path}") for place, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ArtifactError(f"{path} holds no checkpoint", "", "give the file that martensite audit checkpoint wrote")
    return found


def refused(checkpoints: Iterable[Checkpoint], by: PublicKey | Trust | None) -> dict[Checkpoint, str]:
    """Those that do not count, with why; without anyone to trust, none is refused and none is believed."""
    return {} if by is None else {one: why for one in checkpoints if (why := one.refusal(by))}


def _content(statement: dict[str, Any], source: str) -> tuple[str, int, str, datetime]:
    try:
        content, (subject,) = statement["predicate"], statement["subject"]
        log, size, root = content["log"], content["size"], content["root"]
        created: datetime = read_moment(str(content["created"]))
        sound = all(isinstance(one, str) and DIGEST.fullmatch(f"sha256:{one}") for one in (log, root))
        sound = sound and type(size) is int and size > 0 and subject["digest"]["sha256"] == root
    except (LookupError, TypeError, ValueError, ConfigError):
        sound = False
    if not sound or statement.get("predicateType") != PREDICATE:
        raise SignatureError(f"{source} is no checkpoint of an audit log", f"it states log, size and root ({PREDICATE})")
    return log, size, root, created
