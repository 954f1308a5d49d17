"""What is recorded, and the exact bytes that a record's hash is of."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted  # in C, and what canonical_json writes of a text
from typing import Any

from martensite.artifacts.audit.merkle import leaf_hash
from martensite.core.config import canonical_json
from martensite.core.errors import ConfigError

NOTHING = "0" * 64  # what the first record follows
LONGEST = 1000  # characters of a text
LARGEST = 64 * 2**10  # bytes of details
WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
COLUMNS = (
    "number", "time", "actor", "account", "action", "kind", "subject", "name", "outcome", "purpose", "details", "payload",
    "previous", "hash",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Something that was done.

    Attributes:
        action: A word: ``"train"``, ``"harden"``, ``"evaluate"``, ``"certify"``, ``"attack"``, ``"save"``, ``"load"``,
            ``"convert"``, ``"scan"``, ``"sign"``, ``"verify"``, ``"attest"``, ``"approve"``, ``"gate"``, ``"bom"``, ``"serve"``,
            ``"request"``, ``"access"`` (to data), or one of your own.
        kind: What ``subject`` is the digest of, a word: ``"model"``, ``"data"``, ``"files"``, ``"file"``, ``"request"``; empty if
            there is no subject.
        subject: ``"sha256:..."``, or empty.
        name: What people call the subject.
        outcome: ``"done"``, ``"begun"``, ``"failed"``, ``"interrupted"``, or a verdict.
        purpose: What for.
        details: Whatever else belongs to it, as JSON.
        payload: Content that may have to be deleted one day: kept outside the chain, which holds only a salted digest of it.

    Raises:
        ConfigError: a word that is none, something else than a digest, too long a text, details that are no JSON.
    """

    action: str
    kind: str = ""
    subject: str = ""
    name: str = ""
    outcome: str = "done"
    purpose: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes | None = None

    def __post_init__(self) -> None:
        if not WORD.fullmatch(self.action) or (self.kind and not WORD.fullmatch(self.kind)):
            found = f"action {self.action!r}, kind {self.kind!r}"
            raise ConfigError(found[:200], "each is a word of small letters, digits, - and _", "e.g. train, model")
        if bool(self.subject) != bool(self.kind) or (self.subject and not DIGEST.fullmatch(self.subject)):
            found = f"the subject of {self.action} is {self.subject[:80]!r}, of the kind {self.kind!r}"
            raise ConfigError(found, "a subject is 'sha256:' and 64 digits of hex, of some kind")
        for what in ("name", "outcome", "purpose"):
            check_text(what, getattr(self, what))
        if self.payload is not None and not isinstance(self.payload, bytes):
            raise ConfigError(f"the payload is a {type(self.payload).__name__}", "a payload is bytes", "encode it")
        if len(self.text) > LARGEST:
            found = f"the details of {self.action} have {len(self.text)} bytes"
            raise ConfigError(found, f"at most {LARGEST} are recorded", "give a digest of what is larger")

    @property
    def text(self) -> str:
        """The details as canonical JSON.

        Raises:
            ConfigError: they are no JSON object.
        """
        if not self.details:
            return "{}"
        try:
            return canonical_json(dict(self.details))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the details of {self.action} are no JSON: {error}", "text, finite numbers, lists, objects"
            ) from None


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as the log holds it; the fields of `Entry`, and these.

    Attributes:
        number: Counted from 1.
        time: When it was recorded, UTC by the writer's clock: ``2026-12-31T12:00:00.000000Z``.
        actor: Who did it, as they say.
        account: On whose account the writing process ran: ``user@host``.
        details: Canonical JSON.
        payload: Salted digest of the payload, or empty.
        previous: Hash of the record before; 64 zeros for the first.
        hash: Of this record, in hex: the leaf of the Merkle tree.
    """

    number: int
    time: str
    actor: str
    account: str
    action: str
    kind: str
    subject: str
    name: str
    outcome: str
    purpose: str
    details: str
    payload: str
    previous: str
    hash: str

    def line(self) -> bytes:
        """The record as canonical JSON, without its hash: what the hash is of."""
        return line(tuple(getattr(self, name) for name in COLUMNS))


def line(row: tuple[Any, ...]) -> bytes:
    """Canonical JSON of a row in the order of `COLUMNS`.

    ``details`` goes in as it stands. No other row gives the same bytes: what is before and after it are quoted texts.

    Raises:
        TypeError: a column holds something else than text.
    """
    number, time, actor, account, action, kind, subject, name, outcome, purpose, details, payload, previous = row[:13]
    return (
        f'{{"account":{quoted(account)},"action":{quoted(action)},"actor":{quoted(actor)},"details":{details}'
        f',"kind":{quoted(kind)},"name":{quoted(name)},"number":{number:d},"outcome":{quoted(outcome)}'
        f',"payload":{quoted(payload)},"previous":{quoted(previous)},"purpose":{quoted(purpose)}'
        f',"subject":{quoted(subject)},"time":{quoted(time)}}}'
    ).encode()


def sealed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The thirteen fields of a row with their hash."""
    return (*row, leaf_hash(line(row)).hex())


def payload_digest(salt: bytes, content: bytes) -> str:
    """What the chain holds of a payload: once the salt is deleted, nobody can try out what the content might have been."""
    return "sha256:" + hashlib.sha256(salt + content).hexdigest()


def check_text(what: str, text: str) -> None:
    """Refuse what some database could not give back as it was.

    Raises:
        ConfigError: too long, or not text.
    """
    if not isinstance(text, str) or len(text) > LONGEST or "\x00" in text or not _encodable(text):
        raise ConfigError(f"{what} is {text!r:.80}", f"it is text of at most {LONGEST} characters, without NUL")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return True
