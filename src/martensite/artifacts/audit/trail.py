"""Everything that is done in a block, or by a command, goes into the log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from martensite.artifacts.audit.entry import DIGEST, LARGEST, LONGEST, Entry, Record
from martensite.artifacts.audit.log import AuditLog
from martensite.core.acts import Act, recording
from martensite.core.audit_rule import audit_rule
from martensite.core.config import canonical_json
from martensite.core.errors import ConfigError, StorageError


class Trail:
    """Records acts as they happen.

    Args:
        log: Where to.
        purpose: What all of it is for.
    """

    def __init__(self, log: AuditLog, purpose: str = "") -> None:
        self.log, self.purpose = log, purpose
        self._owed: list[Entry] = []

    def record(self, act: Act, *, later: bool = False) -> None:
        """As `Recorder` says.

        Raises:
            StorageError: it was not recorded; not if ``later``.
        """
        self._put(_entry(act, self.purpose), later)

    def note(
        self, action: str, kind: str = "", subject: str = "", name: str = "", details: Mapping[str, Any] | None = None
    ) -> Record:
        """Record something of your own.

        Raises:
            ConfigError: as `Entry` says.
            StorageError: it was not recorded.
        """
        (record,) = self.log.append([Entry(action, kind, subject, name, purpose=self.purpose, details=details or {})])
        return record

    def settle(self) -> None:
        """Record what could not be recorded when it happened.

        Raises:
            StorageError: it still can't.
        """
        if not self._owed:
            return
        try:
            self.log.append(self._owed)
        except StorageError as error:
            what = ", ".join(f"{one.action} ({one.outcome})" for one in self._owed)
            rule = "what was made is there, but the audit log has only its beginning"
            raise StorageError(
                f"{what} could not be recorded: {error.value}", rule, "do it again before anybody relies on it"
            ) from None
        self._owed = []

    def _put(self, entry: Entry, later: bool) -> None:
        try:
            self.log.append([*self._owed, entry])
            self._owed = []
        except StorageError:
            if not later:
                raise
            self._owed.append(entry)


@contextmanager
def audit(place: str | Path | None = None, *, actor: str | None = None, purpose: str = "") -> Iterator[Trail]:
    """Record everything that is done in the block: by this process, in any thread.

    Args:
        place: A path (SQLite), ``sqlite:///path`` or ``postgresql://user@host/name``; None: as ``MARTENSITE_AUDIT`` or the files
            of `core.audit_rule` have it.
        actor: Who is recorded; None: as they have it, or else the account.
        purpose: What for.

    Raises:
        ConfigError: no log is named anywhere, or another one than the machine's rule names.
        ArtifactError: what lies there is no log.
        StorageError: it can't be written; at the end: something that was done could not be recorded.
    """
    rule = audit_rule(None if place is None else str(place), actor)
    if rule.log is None:
        raise ConfigError("no audit log is named", "recording needs a place", "give a path or URL, or set MARTENSITE_AUDIT")
    with AuditLog(rule.log, actor=rule.actor) as log:
        trail = Trail(log, purpose)
        try:
            with recording(trail):
                yield trail
        finally:
            trail.settle()


def _entry(act: Act, purpose: str) -> Entry:
    """An act as the log takes it: what is too long for it is cut, and says so, and what is no JSON becomes text.

    Work that was done must not be lost because someone described it badly.
    """
    details = {str(name): _as_json(value) for name, value in act.details.items()}
    if len(canonical_json(details)) > LARGEST // 2:
        details = {"cut": True, **{name: value for name, value in details.items() if len(canonical_json(value)) < LONGEST}}
    kind, subject = act.kind, act.subject
    if not DIGEST.fullmatch(subject):  # a black box that has no digest, a file that nobody hashed
        details |= {"subject": subject[:LONGEST]} if subject else {}
        kind, subject = "", ""
    name = act.name.replace("\x00", "").encode(errors="replace").decode()
    return Entry(act.action, kind, subject, name[:LONGEST], act.outcome[:LONGEST], purpose[:LONGEST], details)


def _as_json(value: Any) -> Any:
    try:
        canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)[:LONGEST]
    return value
