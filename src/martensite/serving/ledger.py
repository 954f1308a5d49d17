"""The audit log of a server: what was loaded, what served, and each request by its digest."""

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat

from martensite.artifacts.moments import now
from martensite.core.config import Config
from martensite.core.errors import ConfigError, MartensiteError, StorageError
from martensite.serving.observer import Change, Observer
from martensite.serving.refusal import Refusal

if TYPE_CHECKING:
    from martensite.artifacts.audit import Entry

log = logging.getLogger("martensite.serving")
OUTSTANDING = 5000  # records that may wait for the disk
COMPLAIN_EVERY = 10.0  # seconds
ERASE_EVERY = 3600.0
RECORDED_WITHIN = 30.0


class Audit(Config):
    """What is recorded, and where.

    Args:
        log: A path (SQLite), or a URL of SQLite or PostgreSQL.
        requests: Each request is recorded by its SHA-256, with model, key and outcome.
        inputs: The requests themselves are kept, too; they can be deleted later, the records of them can't.
        retention_days: After which kept requests are deleted; None: by hand only.
        required: A version serves, and an answer is given, only once its record is on disk; else what can't be recorded is a line
            in the server's log.
    """

    log: str
    requests: bool = True
    inputs: bool = False
    retention_days: PositiveFloat | None = None
    required: bool = False


class Ledger(Observer):
    """Writes the audit log.

    Args:
        settings: What and where.

    Raises:
        ConfigError: the extra isn't installed, or no such kind of place.
        StorageError: the log can't be written.
    """

    def __init__(self, settings: Audit) -> None:
        try:
            from martensite.artifacts.audit import AuditLog, Writer
        except ImportError:
            raise ConfigError("the audit log needs an extra", "", "pip install 'martensite[evidence]'") from None
        self.settings = settings
        self._log = AuditLog(settings.log, actor="martensite serve")
        self._writer = Writer(self._log)
        self._outstanding = self._lost = 0
        self._counting = threading.Lock()  # the event loop, the watch and the writer count
        self._complained = self._erased = float("-inf")

    def change(self, change: Change) -> None:
        """A version came or went."""
        from martensite.artifacts.audit import Entry, loaded, serving

        details = _details(change)
        if not change.digest:
            entry = Entry("load", name=change.model, outcome="failed", purpose="serve", details=details)
        elif change.state == "serving":
            if not self.settings.required:  # else it was recorded before it served
                self._submit(loaded(change.digest, change.model, configuration=details))
            entry = serving(change.digest, change.model, "begun", details)
        else:
            entry = serving(change.digest, change.model, "done", details)
        self._submit(entry)

    def before(self, change: Change) -> None:
        """Record what is about to serve, where that is required.

        Raises:
            StorageError: it could not be recorded.
        """
        if not self.settings.required:
            return
        from martensite.artifacts.audit import loaded

        future = self._submit(loaded(change.digest, change.model, configuration=_details(change)))
        try:
            if future is None:
                raise StorageError("the audit log can't keep up", "nothing serves without a record", "load it again later")
            future.result(RECORDED_WITHIN)
        except (MartensiteError, TimeoutError) as error:
            reason = error.value if isinstance(error, MartensiteError) else f"not within {RECORDED_WITHIN:g} s"
            text = f"{change.model} {change.version} is not served: its loading can't be recorded: {reason}"
            raise StorageError(text, "nothing serves without a record", "mend the audit log") from None

    async def request(self, body: bytes, digest: str, key: str, outcome: str, details: dict[str, Any]) -> None:
        """Record a request.

        Raises:
            Refusal: 503, it could not be recorded, and had to be.
        """
        if not self.settings.requests:
            return
        from martensite.artifacts.audit import requested

        future = self._submit(requested(digest, body, outcome, keep=self.settings.inputs, name=key, details=details))
        if not self.settings.required:
            return
        try:
            if future is None:
                raise Refusal(503, "the audit log can't keep up", "no answer without a record", retry_after=1.0)
            await asyncio.shield(asyncio.wrap_future(future))  # who stops waiting takes no record back
        except MartensiteError as error:
            raise Refusal(
                503, f"the request can't be recorded: {error.value}", "no answer without a record", retry_after=10.0
            ) from None

    def erase(self) -> None:
        """Delete what was kept for longer than it may be; looks once an hour."""
        days = self.settings.retention_days
        if days is None or time.monotonic() - self._erased < ERASE_EVERY:
            return
        self._erased = time.monotonic()
        self._log.erase_before(now() - timedelta(days=days), f"retention of {days:g} days")

    def suspension(self, digest: str, name: str, reason: str, details: dict[str, Any]) -> None:
        """An alert asked for a suspension."""
        from martensite.artifacts.audit import Entry

        outcome = "done" if details["outcome"].startswith("suspended") else "failed"
        self._submit(Entry("suspend", "model", digest, name, outcome, reason, details))

    def lost(self) -> int:
        """Records that could not be written, since the start."""
        return self._lost

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()
        self._log.close()

    def _submit(self, entry: "Entry") -> "Future[Any] | None":
        if self._outstanding >= OUTSTANDING:  # the event loop must not wait for a disk
            self._complain("the audit log can't keep up")
            return None
        try:
            future = self._writer.submit(entry)
        except MartensiteError as error:
            self._complain(str(error))
            return None
        with self._counting:
            self._outstanding += 1
        future.add_done_callback(self._written)
        return future

    def _written(self, future: "Future[Any]") -> None:
        with self._counting:
            self._outstanding -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            self._complain(str(error))

    def _complain(self, text: str) -> None:
        with self._counting:
            self._lost += 1
        if time.monotonic() - self._complained > COMPLAIN_EVERY:
            self._complained = time.monotonic()
            log.error("%d records of the audit log are lost so far: %s", self._lost, text)


def _details(change: Change) -> dict[str, Any]:
    details: dict[str, Any] = {"version": change.version, "route": change.route, "reason": change.reason[:2000]}
    if change.verdict:
        details |= {"verdict": change.verdict["verdict"], "policy": change.verdict["policy"]["name"]}
    return details
