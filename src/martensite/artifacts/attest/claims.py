"""Claims: in-toto statements about one model, each signed by whoever makes it, one Sigstore bundle a line of claims.jsonl.

in-toto Attestation Framework, Statement v1. The file lies outside the signed folder, so that a claim can be added without the
folder changing. Reading believes nothing: what can't be read or doesn't verify comes back as a claim with its reason.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from martensite.artifacts.attest.predicates import BY_URI, KINDS, Predicate
from martensite.artifacts.attest.subject import Subject
from martensite.artifacts.signing.dsse import STATEMENT, read_envelope, read_object, seal
from martensite.artifacts.signing.keys import Signer
from martensite.artifacts.signing.trust import Trust, TrustedKey
from martensite.artifacts.weights import read_file
from martensite.core.acts import Act, recorded
from martensite.core.errors import ArtifactError, MartensiteError, SignatureError, StorageError
from martensite.core.files import sha256

LARGEST = 256 * 2**20  # bytes of a claims file
SKEW = timedelta(minutes=5)  # between two clocks


@dataclass(frozen=True)
class Claim:
    """One line of claims.jsonl.

    Attributes:
        line: Counted from 1.
        kind: What is claimed; ``""`` if that can't be known.
        refusal: Why it does not count; ``""`` if it does. What follows is believed only then.
        digest: SHA-256 of the line.
        key: Who claims it; None: an unknown key.
        predicate: What.
    """

    line: int
    kind: str
    refusal: str
    digest: str
    key: TrustedKey | None = None
    predicate: Predicate | None = None


def _claimed(given: Mapping[str, Any], _: str | None) -> Act:
    subject, predicate = given["subject"], given["predicate"]
    kind = BY_URI[predicate.uri()]
    details: dict[str, Any] = {"type": kind, "files": f"sha256:{subject.root}", "key": given["key"].public.id}
    told = {name: getattr(predicate, name) for name in ("report", "reason", "version") if hasattr(predicate, name)}
    if kind == "release":
        told["release"] = getattr(predicate, "name", "")
    action = "approve" if kind == "approval" else "attest"
    return Act("model", f"sha256:{subject.model}", subject.name, details={**details, **told}, action=action)


@recorded("attest", _claimed, announced=True)
def make_claim(subject: Subject, predicate: Predicate, key: Signer) -> str:
    """A signed statement, as one line."""
    content = predicate.model_dump(mode="json")
    return seal(
        {"_type": STATEMENT, "subject": [subject.resource()], "predicateType": predicate.uri(), "predicate": content}, key
    )


def append_claim(path: Path, line: str, *, bundle: Path) -> None:
    """Add a line, whole or not at all; several writers wait for one another.

    Raises:
        ArtifactError: the file would lie inside the signed folder.
        StorageError: the disk refused it.
    """
    if path.resolve().is_relative_to(bundle.resolve()):
        raise ArtifactError(
            f"{path} lies inside {bundle}", "what is signed does not change afterwards", "put it beside the folder"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            try:
                torn = bool(size) and os.pread(file.fileno(), 1, size - 1) != b"\n"  # a writer was killed
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}", remedy="free space or choose another --claims") from None


def read_claims(path: Path, subject: Subject, trust: Trust, now: datetime) -> list[Claim]:
    """All claims, each judged: signature, role, subject, schema and time.

    Raises:
        ArtifactError: the file can't be read.
    """
    content = read_file(path, "give --claims FILE, or martensite attest", LARGEST)
    lines: Iterable[tuple[int, bytes]] = enumerate(content.split(b"\n"), start=1)
    return [_judge(place, line, subject, trust, now) for place, line in lines if line.strip()]


def _judge(place: int, line: bytes, subject: Subject, trust: Trust, now: datetime) -> Claim:
    digest, source = sha256(line), f"line {place}"
    try:
        envelope = read_envelope(line, source)
    except SignatureError:
        return Claim(place, "", f"{source} is damaged: no signed statement can be read", digest)
    key = trust.find(envelope.hint)
    if key is None:
        return Claim(place, "", f"{source} is signed by the unknown key {envelope.hint[:12]!r}", digest)
    try:
        statement = envelope.open(key.key)
    except SignatureError:
        return Claim(place, "", f"{source} was altered: it is not what {key.name!r} signed", digest, key)
    kind = BY_URI.get(str(statement.get("predicateType")), "")
    if not kind:
        return Claim(place, "", f"{source} claims something unknown, {str(statement.get('predicateType'))[:80]!r}", digest, key)
    cls = KINDS[kind]
    try:
        predicate = cls.parse(statement.get("predicate"))
    except MartensiteError as error:
        return Claim(place, kind, f"{source} is no {kind} claim: {error.value[:200]}", digest, key)
    refusals = [key.refusal(role, predicate.created) for role in (cls.role, *cls.also)]
    refusal = (
        ("" if "" in refusals else refusals[0])
        or subject.refusal(statement.get("subject"), cls.about)
        or (f"it is dated {predicate.created:%Y-%m-%d %H:%M}, in the future" if predicate.created > now + SKEW else "")
    )
    return Claim(place, kind, f"{source} does not count: {refusal}" if refusal else "", digest, key, predicate)


def unverified(content: bytes, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """SHA-256 of each line that says it is such a claim, and what it says: to be shown to people, and believed by nobody."""
    found = []
    for line in content.split(b"\n"):
        try:
            statement = read_object(read_envelope(line, "a claim").payload, "a claim")
        except SignatureError:
            continue
        predicate = statement.get("predicate")
        if BY_URI.get(str(statement.get("predicateType"))) == kind and isinstance(predicate, dict):
            found.append((sha256(line), predicate))
    return found


def acceptable(claims: Iterable[Claim], kind: str) -> list[Claim]:
    """Those of a kind that count, the newest first; of two of one moment the later line."""
    found = [claim for claim in claims if claim.kind == kind and not claim.refusal and claim.predicate is not None]
    return sorted(found, key=lambda claim: (claim.predicate.created, claim.line), reverse=True)  # type: ignore[union-attr]


def document(claim: Claim) -> dict[str, Any]:
    """A claim that counts, as a policy sees it."""
    if claim.predicate is None or claim.key is None:
        raise ArtifactError(f"line {claim.line} does not count", claim.refusal)
    return {
        "line": claim.line,
        "key": claim.key.name,
        "owner": claim.key.owner,
        "created": claim.predicate.created.timestamp(),
        "predicate": claim.predicate.model_dump(mode="json"),
    }
