"""Live figures: everything that the monitors know, fed by the server's batches, replies and changes."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from martensite.core.errors import DataError
from martensite.serving.monitoring.desk import Desk, Paper
from martensite.serving.monitoring.drift.embedding import Embedding
from martensite.serving.monitoring.drift.watch import DriftWatch
from martensite.serving.monitoring.figures import ModelFigures, VersionFigures, read
from martensite.serving.monitoring.labels import Answers, Counted
from martensite.serving.monitoring.lately import Lately
from martensite.serving.monitoring.settings import Monitoring
from martensite.serving.monitoring.show import show
from martensite.serving.monitoring.snapshot import Alert, Snapshot
from martensite.serving.observer import Batch, Change, Observer, Reply, Routed

if TYPE_CHECKING:
    from martensite.serving.loaded import Loaded

log = logging.getLogger("martensite.serving")
ALERTS = 50  # that are remembered


class Live(Observer):
    """Watches a server.

    Args:
        settings: What is remembered.
        models: Names of the models that are served; requests to others are counted together.
        suspicious: Model to the number of near duplicates that look like an attack; those left out are not watched for it.
        clock: Seconds since 1970.
        routing: Models whose flagged samples go on to another.

    Attributes:
        started: When.
        models: Name to figures; ``""`` for requests to no model.
        lock: Held while figures are read or changed.
    """

    def __init__(
        self,
        settings: Monitoring,
        models: Sequence[str],
        suspicious: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.time,
        routing: Collection[str] = (),
    ) -> None:
        self.settings, self._clock, self._suspicious = settings, clock, dict(suspicious or {})
        self._routing = frozenset(routing)
        self.started = clock()
        self.models = {
            name: ModelFigures(name, Lately(5, self.started), Answers(settings.remembered), Lately(2, self.started, 60))
            for name in (*sorted(models), "")
        }
        self.alerts: deque[Alert] = deque(maxlen=ALERTS)
        self.audit_lost: Callable[[], int | None] = lambda: None
        self.lag: Callable[[], float] = lambda: 0.0
        self.lock = threading.Lock()
        drift = settings.drift
        self.desk = Desk(drift.budget, drift.waiting, log.error) if drift is not None else None

    def batch(self, batch: Batch) -> None:
        """Count predictions, confidences, decisions; remember what was flagged."""
        seen, moment = read(batch), self._clock()
        with self.lock:
            model = self.models.get(batch.model)
            version = None if model is None else model.versions.get(batch.route)
            if model is None or version is None or version.digest != batch.digest:
                return  # the last batches of a version that was replaced
            # What goes on to another model is counted once that has answered.
            later = ("flagged",) if batch.model in self._routing and batch.route != "shadow" else ()
            version.add(batch, seen, moment, self.settings.pictures, later)
            if batch.route != "shadow":
                model.lately.add(moment, 0, 0, 0, 1, len(batch.decisions))
        if self.desk is None or version.watch is None:
            return
        if not self.desk.put(Paper(version.watch, batch.x, batch.logits, batch.p_value, moment)):
            version.passed_over += len(batch.decisions)

    def reply(self, reply: Reply) -> None:
        """Count a request, and remember what was answered: labels may come for it."""
        moment = self._clock()
        with self.lock:
            model = self.models.get(reply.model) or self.models[""]
            model.answered(moment, reply.status, reply.samples, reply.seconds)
            limit = self._suspicious.get(model.name)
            model.suspicious += limit is not None and reply.near >= limit
            if reply.labels:
                model.answers.note(reply.id, reply.key, reply.digest, reply.labels, reply.routed)
            if reply.routed is not None:
                self._routed(reply.model, reply.digest, reply.routed)

    def change(self, change: Change) -> None:
        """Note that a version came, went, or was refused."""
        moment = self._clock()
        with self.lock:
            model = self.models.get(change.model)
            if model is None or change.state == "retired":  # what took its place was told before
                return
            model.loads[change.state] += 1
            known = model.versions.get(change.route)
            if change.state == "refused":
                model.trouble = change.reason if known is None else ""
                model.refused = "" if known is None else change.reason
                return
            model.trouble = ""
            if change.state == "serving" and (known is None or known.loaded is not change.loaded):
                model.refused = ""
            if change.state == "out" and known is not None:
                known.state, known.reason, known.since = "out", change.reason, moment
            elif known is not None and known.digest == change.digest and known.loaded is change.loaded:
                known.state, known.reason, known.since = "serving", "", moment
            else:
                model.versions[change.route] = self._fresh(change, moment)

    def label(self, model: str, id: str, key: str | None, labels: Sequence[int]) -> Counted:
        """Learn the labels of a request that was answered.

        Args:
            model: Its name.
            id: Of the request.
            key: Of the client that asked; None: whichever did.
            labels: One a sample.

        Returns:
            How many answers were right; each counts for the model that gave it.

        Raises:
            DataError: no such request, another number of samples, or no such class.
        """
        moment = self._clock()
        with self.lock:
            figures = self.models[model]
            classes = max((len(one.predictions) for one in figures.versions.values()), default=0)
            if odd := next((one for one in labels if not 0 <= one < classes), None):
                raise DataError(f"the label {odd}", f"{model} has the classes 0 to {classes - 1}")
            given = figures.answers.take(id, key, len(labels))
            said = np.asarray(given.labels)
            correct, answered = said == np.asarray(labels), said >= 0
            theirs = np.zeros(len(said), dtype=bool)
            if given.routed is not None:
                theirs[[row for row, word in given.routed.decisions.items() if word == "routed"]] = True
            scored = [(self._version(model, given.digest), correct[answered & ~theirs])]
            if given.routed is not None:
                scored.append((self._version(given.routed.model, given.routed.digest), correct[answered & theirs]))
            for version, rows in scored:
                if version is not None:
                    version.accuracy.add(rows)
        for version, rows in scored:
            if version is not None and version.watch is not None and len(rows):
                version.watch.label(rows, moment)
        return Counted(int(answered.sum()), int(correct[answered].sum()), int((~answered).sum()))

    def now(self) -> float:
        """This moment, by the clock that all figures go by."""
        return self._clock()

    def alert(self, alert: Alert) -> None:
        """Note an alert that came."""
        with self.lock:
            self.alerts.appendleft(alert)

    def snapshot(self) -> Snapshot:
        """Everything, at this moment. Pictures are drawn before the lock is taken, under which nobody is answered."""
        with self.lock:
            caught = [one for model in self.models.values() for version in model.versions.values() for one in version.caught]
        for one in caught:
            one.picture  # noqa: B018  # drawn, and kept
        with self.lock:
            return show(self, self._clock())

    def close(self) -> None:
        """End what runs beside the server."""
        if self.desk is not None:
            self.desk.close()

    def _version(self, model: str, digest: str) -> VersionFigures | None:
        figures = self.models.get(model)
        versions = () if figures is None else tuple(figures.versions.values())
        return next((one for one in versions if one.digest == digest and one.route != "shadow"), None)

    def _routed(self, model: str, digest: str, routed: Routed) -> None:
        """Count what the batch left open."""
        if (version := self._version(model, digest)) is not None:
            version.decisions.update(routed.decisions.values())
        other = self._version(routed.model, routed.digest)
        if other is not None and routed.flagged and routed.model in self._routing:  # it answers these itself, and asks no third
            other.decisions["flagged"] += routed.flagged

    def _fresh(self, change: Change, moment: float) -> VersionFigures:
        loaded = change.loaded
        return VersionFigures(
            version=change.version,
            digest=change.digest,
            route=change.route,
            state=change.state,
            reason=change.reason,
            since=moment,
            loaded=loaded,
            predictions=np.zeros(0 if loaded is None else loaded.manifest.classes, dtype=np.int64),
            lately=Lately(3, moment),
            caught=deque(maxlen=self.settings.flagged),
            hour=Lately(1, moment, 60),
            watch=self._watch(loaded),
        )

    def _watch(self, loaded: "Loaded | None") -> DriftWatch | None:
        if loaded is None or loaded.reference is None or self.settings.drift is None:
            return None
        return DriftWatch(loaded.reference, self.settings.drift, Embedding(loaded.model))
