"""All that a server serves, and the watch over it: new bundles are loaded, evidence is judged again, keys are read anew."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from martensite.core.config import nearest
from martensite.core.errors import MartensiteError
from martensite.serving.body import Bodies
from martensite.serving.config import ServeConfig
from martensite.serving.gatekeeper import Gatekeeper
from martensite.serving.lag import Lag
from martensite.serving.ledger import Ledger
from martensite.serving.leftovers import sweep
from martensite.serving.line import Line
from martensite.serving.monitoring.live import Live
from martensite.serving.monitoring.suspend import Suspender
from martensite.serving.observer import Observer, Observers, Route
from martensite.serving.refusal import Refusal
from martensite.serving.slot import Slot
from martensite.serving.traces import Tracer

TICK = 1.0  # seconds between two looks at the files
Stamp = tuple[tuple[int, int, int], ...]

log = logging.getLogger("martensite.serving")


class Fleet:
    """The models of a server.

    Args:
        config: What to serve.
        observers: Hear of every batch, reply and change.
        tracer: Makes spans; None: the one that the settings ask for.

    Attributes:
        gatekeeper: Knows the API keys.
        ledger: Writes the audit log; None: there is none.
        live: Knows what goes on.
        suspender: Suspends on alerts; None: no alert does that.
        tracer: Makes spans; None: there are none.
        slots: Name to model.
        bodies: Of the requests under way.
        lag: Of the event loop.
        stopping: The server takes nothing new.
    """

    def __init__(self, config: ServeConfig, observers: Sequence[Observer] = (), tracer: Tracer | None = None) -> None:
        self.config = config
        self.ledger = Ledger(config.audit) if config.audit is not None else None
        self.tracer = Tracer.to(config.traces) if tracer is None and config.traces is not None else tracer
        watched = {one.name: one.queries.limit for one in config.models if one.queries is not None}
        routing = [one.name for one in config.models if one.second is not None]
        suspend = config.monitoring.suspend
        self.suspender = Suspender(suspend) if suspend is not None else None
        self.live = Live(config.monitoring, [one.name for one in config.models], watched, routing=routing)
        if self.ledger is not None:
            self.live.audit_lost = self.ledger.lost
        self.observer = Observers(
            [*observers, *(one for one in (self.live, self.ledger, self.tracer) if one is not None)], log.error
        )
        self.gatekeeper = Gatekeeper(config.access)
        before = self.ledger.before if self.ledger is not None else lambda change: None
        self.slots = {one.name: Slot(one, config.insecure_no_evidence, self.observer, before) for one in config.models}
        for slot in self.slots.values():
            slot.second = self.slots.get(slot.config.second or "")
        self.bodies = Bodies(config.limits)
        self.lag = Lag()
        self.live.lag = lambda: self.lag.seconds
        self.stopping = False
        self._watches = [_Watched(slot, route) for slot in self.slots.values() for route in slot.sources]
        self._asked: set[str] = set()

    def load(self) -> None:
        """Load every model.

        Raises:
            MartensiteError: one isn't proven or can't be loaded, and that ends the server (``fail: exit``).
        """
        if n := sweep():
            log.info("%d private folders of servers that were killed are removed", n)
        if trouble := self.gatekeeper.try_counts():
            log.error("%s", trouble)
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        for watched in self._watches:
            try:
                watched.load()
            except MartensiteError as error:
                if self.config.fail == "exit":
                    self.close()
                    raise
                log.error("%s", error)

    def slot(self, name: str) -> Slot:
        """A model by name.

        Raises:
            Refusal: 404, there is none.
        """
        if name not in self.slots:
            raise Refusal(404, f"there is no model {name[:60]!r}", remedy=nearest(name[:60], self.slots))
        return self.slots[name]

    @property
    def reasons(self) -> dict[str, str]:
        """Name to why it isn't ready, of those that aren't."""
        if self.stopping:
            return dict.fromkeys(self.slots, "the server is stopping")
        return {name: slot.reason for name, slot in self.slots.items() if slot.reason}

    def ask_reload(self, name: str | None = None) -> None:
        """Load anew at the next tick, whatever `reload` says."""
        self._asked.update([name] if name is not None else self.slots)

    async def reload(self, name: str) -> None:
        """Load a model's folders anew, now: all of them, or none.

        Raises:
            MartensiteError: a version was refused; those before go on serving.
        """
        await asyncio.to_thread(_load_together, [watched for watched in self._watches if watched.slot.name == name])

    async def watch(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(TICK)
            try:
                if trouble := await asyncio.to_thread(self.gatekeeper.refresh):
                    log.error("%s", trouble)
                if self.ledger is not None:
                    await asyncio.to_thread(self.ledger.erase)
            except Exception:
                log.exception("the watch stumbled and goes on")
            asked, self._asked = self._asked, set()
            for watched in self._watches:
                try:  # each by itself: what one model stumbles over must not keep the others from being judged
                    await asyncio.to_thread(watched.look, watched.slot.name in asked)
                except Exception:
                    log.exception("the watch over %s stumbled and goes on", watched.slot.name)

    def close(self, timeout: float | None = 5.0) -> None:
        """End every model, and keep the counts."""
        self.stopping = True
        for slot in self.slots.values():
            slot.close(timeout)
        if trouble := self.gatekeeper.keep():
            log.error("%s", trouble)
        self.live.close()
        if self.ledger is not None:
            self.ledger.close()
        if self.tracer is not None:
            self.tracer.close()


class _Watched:
    """The files behind one version, and when they were judged."""

    def __init__(self, slot: Slot, route: Route) -> None:
        self.slot, self.route = slot, route
        self.source = slot.sources[route]
        self._loaded: Stamp = ()  # the bundle's files, when they were loaded or refused last
        self._settling: Stamp = ()  # the same at the last tick
        self._evidence: Stamp = ()
        self._judged = 0.0
        self._refused = False
        self._primary: Line | None = None  # what it was refused beside

    def load(self) -> None:
        """Load what is there; raises as `Slot.load`."""
        _load_together([self])

    def begin(self) -> None:
        """Note what is there. Before a load: what changes during it is seen at the next tick."""
        self._loaded = self._settling = self._files()
        self._evidence = self._papers()
        self._judged, self._refused = time.monotonic(), True
        self._primary = self.slot.lines.get("primary")

    def done(self) -> None:
        """Note that it serves."""
        self._refused = False

    def look(self, asked: bool) -> None:
        """Load or judge anew, if there is a reason to."""
        files, papers = self._files(), self._papers()
        settled, self._settling = files == self._settling, files
        changed = self.slot.config.reload == "watch" and files != self._loaded and settled  # nobody is writing it any more
        # What didn't go with one primary may go with the next.
        another = self.route != "primary" and self.slot.lines.get("primary") is not self._primary
        if asked or changed or (self._refused and (another or papers != self._evidence)):
            try:
                self.load()
            except MartensiteError as error:  # the old version, if there is one, goes on
                log.error("%s, %s: %s", self.slot.name, self.route, error)
            papers = self._papers()
        case = self.source.case
        if self.route not in self.slot.lines or case is None:
            return
        due = time.monotonic() - self._judged > case.evidence.recheck
        if due or papers != self._evidence:
            self._evidence, self._judged = papers, time.monotonic()
            self.slot.judge_again(self.route)
            self.note_record()

    def note_record(self) -> None:
        # What passes is written into the record of versions: one's own writing is no news, and must not bring a judgement.
        case = self.source.case
        if case is not None and case.evidence.versions is not None:
            self._evidence = (*self._evidence[:-1], *_stamp([case.evidence.versions]))

    def _files(self) -> Stamp:
        bundle = self.source.bundle
        try:
            inside = sorted(bundle.iterdir())
        except OSError:
            inside = []
        case = self.source.case
        return _stamp([bundle, *inside, *([case.signature] if case is not None else [])])

    def _papers(self) -> Stamp:
        return _stamp(self.source.case.watched) if self.source.case is not None else ()


def _load_together(watched: Sequence[_Watched]) -> None:
    for one in watched:
        one.begin()
    try:
        watched[0].slot.load(*(one.route for one in watched))
    finally:
        for one in watched:
            one.note_record()
    for one in watched:
        one.done()


def _stamp(paths: Sequence[Path]) -> Stamp:
    found = []
    for path in paths:
        try:
            seen = os.stat(path)
            found.append((seen.st_mtime_ns, seen.st_size, seen.st_ino))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
