"""Proofs for someone who does not hold the log: that a record is in it, or that it only grew, against signed checkpoints.

RFC 6962, sec. 2.1.1 and 2.1.2. A proof is one JSON document, checked with the auditor's key alone.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from martensite.artifacts.audit.checkpoint import Checkpoint
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.merkle import consistency_path, consistent, inclusion_path, leaf_hash, root_by_inclusion
from martensite.artifacts.audit.tables import records
from martensite.artifacts.signing.dsse import read_object
from martensite.artifacts.signing.keys import PublicKey
from martensite.artifacts.signing.trust import Trust
from martensite.core.config import canonical_json
from martensite.core.errors import ArtifactError, SignatureError

INCLUSION, GROWTH = "martensite-audit-inclusion-1", "martensite-audit-growth-1"


def prove_inclusion(log: AuditLog, number: int, checkpoint: Checkpoint) -> dict[str, Any]:
    """That the record is among those of the checkpoint.

    Raises:
        ArtifactError: no such record, it is newer than the checkpoint, or the checkpoint is not of this log as it is.
    """
    record = log.get(number)
    if number > checkpoint.size:
        raise ArtifactError(
            f"record {number} is newer than the checkpoint of {checkpoint.size}", "", "make one: martensite audit checkpoint"
        )
    path = inclusion_path(number - 1, _leaves(log, checkpoint.size))
    leaf = leaf_hash(record.line())
    if root_by_inclusion(number - 1, checkpoint.size, leaf, path) != bytes.fromhex(checkpoint.root):
        raise _other(checkpoint)
    return {
        "format": INCLUSION,
        "record": json.loads(record.line()),
        "path": [step.hex() for step in path],
        "checkpoint": json.loads(checkpoint.bundle),
    }


def prove_growth(log: AuditLog, old: Checkpoint, new: Checkpoint) -> dict[str, Any]:
    """That the log of the old checkpoint is the beginning of that of the new one.

    Raises:
        ArtifactError: they are not of this log as it is, or in the wrong order.
    """
    if old.size > new.size:
        raise ArtifactError(f"the old checkpoint has {old.size} records, the new one {new.size}", "a log grows", "swap them")
    path = consistency_path(old.size, _leaves(log, new.size))
    for one in (old, new):
        if one.log != log.identity:
            raise _other(one)
    if not consistent(old.size, new.size, bytes.fromhex(old.root), bytes.fromhex(new.root), path):
        raise _other(old)
    document = {"format": GROWTH, "path": [step.hex() for step in path]}
    return {**document, "old": json.loads(old.bundle), "new": json.loads(new.bundle)}


def is_proof(path: Path) -> bool:
    """Does the file hold one, be it good or bad?"""
    if not path.is_file():  # reading a pipe or a device might never end
        raise ArtifactError(f"{path} is no regular file", remedy="give a file of audit export or prove")
    try:
        with path.open("rb") as file:
            head = file.read(200)
            return any(kind.encode() in head for kind in (INCLUSION, GROWTH))
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give a file of audit export or prove") from None


def check_proof(content: bytes, by: PublicKey | Trust) -> str:
    """What a proof proves, in words.

    Raises:
        SignatureError: nothing: it does not hold, or nobody who is trusted with it signed its checkpoints.
    """
    document = read_object(content, "the proof")
    try:
        kind, path = document["format"], [bytes.fromhex(step) for step in document["path"]]
        named = [document[name] for name in (("checkpoint",) if kind == INCLUSION else ("old", "new"))]
        checkpoints = [Checkpoint.parse(canonical_json(one), "the proof's checkpoint") for one in named]
        record = document["record"] if kind == INCLUSION else {}
        number = int(record.get("number", 0))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise SignatureError("this is no proof of an audit log", "it is what martensite audit prove wrote") from None
    if refusal := next((why for one in checkpoints if (why := one.refusal(by))), ""):
        raise SignatureError(f"the proof's checkpoint does not count: {refusal}", "an auditor's key signs it")
    if kind == INCLUSION:
        (one,) = checkpoints
        leaf = leaf_hash(canonical_json(record).encode())
        if root_by_inclusion(number - 1, one.size, leaf, path) != bytes.fromhex(one.root):
            raise SignatureError(f"the proof does not lead from record {number} to the checkpoint", "record or path was altered")
        return f"record {number} is in the log {one.log[:12]}, as the checkpoint of {one.created:%Y-%m-%d %H:%M} has it"
    old, new = checkpoints
    grown = old.log == new.log and kind == GROWTH
    if not grown or not consistent(old.size, new.size, bytes.fromhex(old.root), bytes.fromhex(new.root), path):
        raise SignatureError("the proof does not lead from the old checkpoint to the new one", "the log was rewritten in between")
    return f"the log {old.log[:12]} grew from {old.size} to {new.size} records, and nothing before was changed"


def _leaves(log: AuditLog, size: int) -> list[bytes]:
    with log.database.reading() as connection:
        query = select(records.c.hash).where(records.c.number.between(1, size)).order_by(records.c.number)
        leaves = [bytes.fromhex(one) for one in connection.scalars(query)]
    if len(leaves) != size:
        raise ArtifactError(f"the log has {len(leaves)} of {size} records", "the checkpoint has more", "martensite audit verify")
    return leaves


def _other(one: Checkpoint) -> ArtifactError:
    what = f"the checkpoint of {one.created:%Y-%m-%d %H:%M} is not of this log as it is"
    return ArtifactError(what, "the log was changed, or it is another one", "martensite audit verify")
