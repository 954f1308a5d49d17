"""A model by its name: the version that answers, and what stands beside it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from martensite.core.errors import MartensiteError
from martensite.serving.beside import mismatch
from martensite.serving.config import ModelConfig
from martensite.serving.evidence import Case
from martensite.serving.line import Line
from martensite.serving.loaded import load
from martensite.serving.observer import Change, Judged, Observer, Route
from martensite.serving.outcome import Outcome
from martensite.serving.protocol.request import Query
from martensite.serving.queries import Watches
from martensite.serving.refusal import Refusal
from martensite.serving.second import ask_second

AT_ONCE = 10_000  # pairs of queries that are compared in the event loop: half a millisecond
ROUTES: tuple[Route, ...] = ("primary", "canary", "shadow")


@dataclass(frozen=True)
class Source:
    """Where a version comes from.

    Attributes:
        bundle: The folder.
        case: What is asked of it; None: nothing.
    """

    bundle: Path
    case: Case | None


class Slot:
    """One model.

    Args:
        config: Of the model.
        insecure: Nothing is asked of its bundles.
        observer: Hears what happens.
        before: Told of a version that is about to serve; what it raises keeps it from that.
    """

    def __init__(
        self, config: ModelConfig, insecure: bool, observer: Observer, before: Callable[[Change], None] = lambda change: None
    ) -> None:
        self.config, self.observer, self._before = config, observer, before
        self.sources = {route: source for route in ROUTES if (source := _source(config, route, insecure)) is not None}
        self.lines: dict[Route, Line] = {}
        self.trouble: dict[Route, str] = dict.fromkeys(self.sources, "it is not loaded yet")
        self._turn = 0.0
        # An older bundle must not replace a newer one, nor an older verdict a newer one: admins and alerts ask beside the watch.
        self._loading, self._judging = threading.Lock(), threading.Lock()
        self.second: Slot | None = None  # set by the fleet, which knows all of them
        self._watches = Watches(config.queries) if config.queries is not None else None
        self._watching = asyncio.Lock()
        self._shadows: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """In URLs."""
        return self.config.name

    @property
    def reason(self) -> str:
        """Why it isn't ready; ``""`` if it is."""
        line = self.lines.get("primary")
        return self.trouble.get("primary", "") if line is None else line.out

    def load(self, *routes: Route) -> None:
        """Load what the folders hold and put it in the old versions' place; old requests finish on the old ones.

        Raises:
            MartensiteError: one isn't proven, can't be loaded, or doesn't go with the primary; all that served go on serving.
        """
        with self._loading:
            ready: dict[Route, tuple[Line, Change]] = {}
            try:
                # The primary last: where another is refused its number isn't even in the record of versions.
                for route in sorted(routes, key=ROUTES.index, reverse=True):
                    ready[route] = self._ready(route)
                for route in ready:
                    with self._refusing(route):
                        self._agrees(ready[route][0], ready["primary"][0] if "primary" in ready else self.lines.get("primary"))
                        self._before(ready[route][1])
            except BaseException:
                for line, _ in ready.values():
                    line.close()
                raise
            for route in sorted(ready, key=ROUTES.index):
                self._swap(route, *ready[route])

    def judge_again(self, route: Route) -> None:
        """Take a version out whose evidence has ended, or back in if it is good again."""
        with self._judging:
            self._judge_again(route)

    def _ready(self, route: Route) -> tuple[Line, Change]:
        """A version that could serve, and the news of it."""
        source, started, began = self.sources[route], time.time(), time.perf_counter()
        with self._refusing(route):
            try:
                loaded = load(source.bundle, source.case, self.config.backend, self.config.batching.max_batch)
            except MartensiteError as error:
                if source.case is not None:
                    self.observer.judged(Judged(self.name, "", "", str(error), {}, route, time.perf_counter() - began, started))
                raise
        if source.case is not None:
            judged = Judged(self.name, loaded.version, loaded.digest, "", loaded.record, route, loaded.verified, started)
            self.observer.judged(judged)
        refuse = self.config.flagged == "refuse"
        line = Line(self.name, route, loaded, self.config.batching, self.observer, refuse_flagged=refuse)
        return line, Change(self.name, line.version, loaded.digest, "serving", "", loaded.record, route, loaded)

    @contextmanager
    def _refusing(self, route: Route) -> Iterator[None]:
        """Tell of a version that is refused here."""
        try:
            yield
        except MartensiteError as error:
            self.trouble[route] = str(error)
            self.observer.change(Change(self.name, "", "", "refused", str(error), route=route))
            raise

    def _agrees(self, line: Line, first: Line | None) -> None:
        """Refuse what doesn't go with the primary, which itself is never refused for what stands beside it."""
        if line.route != "primary" and first is not None and (error := mismatch(first, line, self.config.outside)):
            raise error

    def _swap(self, route: Route, line: Line, change: Change) -> None:
        old = self.lines.get(route)
        self.lines[route] = line  # one assignment: a request sees the old one or the new one
        self.trouble.pop(route, None)
        self.observer.change(change)
        if route == "primary":
            self._look_beside(line)
        if old is not None:
            old.close(self.config.batching.timeout)  # after which nobody waits for it any more
            self.observer.change(Change(self.name, old.version, old.loaded.digest, "retired", "", {}, route))

    def _look_beside(self, first: Line) -> None:
        """Take out what doesn't go with a new primary, and back in what does again."""
        for route, line in self.lines.items():
            if route != "primary":
                error = mismatch(first, line, self.config.outside)
                self._set(line, line.out, "" if error is None else str(error))

    def _set(self, line: Line, out: str, odd: str) -> None:
        was, loaded = bool(line.idle), line.loaded
        line.out, line.odd = out, odd
        if was != bool(line.idle):
            state: Literal["out", "serving"] = "out" if line.idle else "serving"
            told = (self.name, line.version, loaded.digest, state, line.idle, loaded.record, line.route, loaded)
            self.observer.change(Change(*told))

    def _judge_again(self, route: Route) -> None:
        line, started, began = self.lines[route], time.time(), time.perf_counter()
        reason, loaded = line.loaded.judge_again(), line.loaded
        seconds = time.perf_counter() - began
        self.observer.judged(Judged(self.name, line.version, loaded.digest, reason, loaded.record, route, seconds, started))
        self._set(line, reason, line.odd)

    @property
    def ahead(self) -> float:
        """Seconds until what the version that answers has taken is answered."""
        line = self.lines.get("primary")
        return 0.0 if line is None else line.ahead

    @property
    def versions(self) -> list[str]:
        """Those that can be asked."""
        return list(dict.fromkeys(line.version for line in self._serving()))

    def described(self, version: str | None = None) -> Line:
        """The version that metadata are about, serving or not.

        Raises:
            Refusal: 404, no such version; 503, none is loaded.
        """
        lines = [line for line in self._serving() if version in (None, line.version)]
        if not lines and version is not None:
            raise Refusal(404, f"{self.name} has no version {version[:60]!r}", "", "see the model's metadata")
        if not lines:
            raise Refusal(503, f"{self.name} is not served: {self.reason}", "what isn't proven isn't served", retry_after=10.0)
        return lines[0]

    async def watch(self, line: Line, key: str, x: npt.NDArray[np.float32]) -> int:
        """Note a key's queries to a version; the near duplicates among its recent ones. Many are looked at beside the loop."""
        if self._watches is None:
            return 0
        low, high = line.loaded.manifest.box
        watch = self._watches.of(x.shape[1:], high - low)
        async with self._watching:  # one after the other, wherever they are looked at
            if len(x) * watch.settings.window <= AT_ONCE:
                return watch.see(key, x)
            return await asyncio.to_thread(watch.see, key, x)

    def permit(self, near: int) -> None:
        """Whether so many near duplicates may be answered.

        Raises:
            Refusal: 429, they look like an attack, and the policy is to refuse.
        """
        if self.config.queries is not None and self.suspicious(near) and self.config.queries.then == "refuse":
            rule = "so many nearly equal ones look like a search for an adversarial"
            raise Refusal(429, f"{near} of the recent queries are near duplicates", rule, "ask the operator", retry_after=60.0)

    def suspicious(self, near: int) -> bool:
        """Whether so many near duplicates are an attack."""
        return self.config.queries is not None and near >= self.config.queries.limit

    def pick(self, version: str | None = None) -> Line:
        """The version that answers the next request.

        Args:
            version: The one that the client asks for; None: any.

        Raises:
            Refusal: 404, no such version; 503, none that may serve.
        """
        serving = self._serving()
        if version is not None:
            serving = [line for line in serving if line.version == version]
            if not serving:
                self.described(version)
        fit = [line for line in serving if not line.out]
        if not fit or (version is None and self.reason):
            reason = serving[0].out if serving else self.reason
            raise Refusal(503, f"{self.name} is not served: {reason}", "what isn't proven isn't served", retry_after=10.0)
        if len(fit) > 1 and self.config.canary is not None:
            self._turn += self.config.canary.share  # every 1/share-th request, and not by chance: a share is kept exactly
            if self._turn >= 1.0:
                self._turn -= 1.0
                return fit[1]
        return fit[0]

    async def answer(self, line: Line, query: Query, x: npt.NDArray[np.float32], id: str, key: str) -> Outcome:
        """The outcome of inputs (n, *d) in the box, as a version made them of a query; the shadow hears of that, too."""
        outcome = line.answer(x, id, key)
        shadow = self.lines.get("shadow")
        if shadow is not None and not shadow.idle and len(self._shadows) < self.config.batching.max_queue:
            task = asyncio.create_task(_quietly(shadow, query, self.config.outside, id, key))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)
        first = await outcome
        if self.second is None:
            return first
        second = self.second
        return await ask_second(second.fit(), line, query, second.config.outside, first, id, key)

    def fit(self) -> Line | None:
        """The version that answers what another model doesn't; None: none may serve."""
        line = self.lines.get("primary")
        return None if line is None or line.out else line

    def _serving(self) -> list[Line]:
        routes: tuple[Route, ...] = ("primary", "canary")
        return [self.lines[route] for route in routes if route in self.lines and not self.lines[route].odd]

    def close(self, timeout: float | None = None) -> None:
        """End every version."""
        for line in self.lines.values():
            line.close(timeout)


async def _quietly(line: Line, query: Query, outside: Literal["refuse", "clip"], id: str, key: str) -> None:
    try:
        # What the client sent, and not what another version made of it: this one has preprocessing, box and rules of its own.
        await line.answer(line.accept(query, outside), id, key)
    except (Refusal, MartensiteError, RuntimeError):
        return  # a shadow that can't keep up, or doesn't take it, misses some


def _source(config: ModelConfig, route: Route, insecure: bool) -> Source | None:
    beside = {"primary": config, "canary": config.canary, "shadow": config.shadow}[route]
    if beside is None:
        return None
    # What is asked is the same; but another bundle has its own signature and claims.
    asked = beside.evidence or config.evidence.model_copy(update={"claims": None, "signature": None})
    return Source(beside.bundle, None if insecure else Case(beside.bundle, asked))
