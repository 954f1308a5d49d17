"""The figures of one model, and of each of its versions, as they grow."""

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.watch import DriftWatch
from martensite.serving.monitoring.labels import Accuracy, Answers
from martensite.serving.monitoring.lately import Lately
from martensite.serving.monitoring.picture import picture
from martensite.serving.monitoring.snapshot import State
from martensite.serving.monitoring.tally import Tally
from martensite.serving.observer import Batch

if TYPE_CHECKING:
    from martensite.serving.loaded import Loaded

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
P_VALUES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STAGES = ("wait", "compute")


@dataclass(frozen=True)
class Caught:
    """A flagged input, as it is remembered.

    Attributes:
        x: (*d); None: inputs are not kept.
        box: In which it lies.
    """

    time: float
    id: str
    row: int
    key: str
    prediction: int
    confidence: float
    p_value: float
    score: float
    decision: str
    x: npt.NDArray[np.float32] | None
    box: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def picture(self) -> str:
        """Of it, drawn once; ``""``: it is no picture, or isn't kept."""
        return "" if self.x is None else picture(self.x, self.box)


@dataclass(frozen=True)
class Read:
    """What is read off a batch's logits, once for everybody.

    Attributes:
        predictions: (n,) likeliest class; of rows that failed none.
        confidence: (n,) its softmax probability, likewise.
        flagged: (n,) bool: a detector rang.
    """

    predictions: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]


def read(batch: Batch) -> Read:
    """The predictions of a batch; rows whose logits aren't finite have none, and a confidence of NaN."""
    logits = batch.logits
    top = logits.max(1)
    with np.errstate(invalid="ignore", over="ignore"):
        confidence = 1.0 / np.exp((logits - top[:, None]).astype(np.float64)).sum(1)
    predictions = logits.argmax(1)
    decisions = batch.decisions
    if "failed" in decisions:
        predictions = np.where([word == "failed" for word in decisions], -1, predictions)
    rang = ("flagged", "refused", "routed")
    flagged = np.fromiter((word in rang for word in decisions), dtype=np.bool_, count=len(decisions))
    return Read(predictions, confidence, flagged)


@dataclass
class VersionFigures:
    """One version on one route.

    Attributes:
        loaded: What serves; None: nothing does.
        watch: Looks for drift; None: nothing does.
        passed_over: Samples that it had no time for.
        accuracy: As far as labels came.
        lately: Samples, flagged, sum of confidences.
        hour: Samples flagged, minute by minute.
    """

    version: str
    digest: str
    route: str
    state: State
    reason: str
    since: float
    loaded: "Loaded | None"
    predictions: npt.NDArray[np.int64]
    lately: Lately
    caught: deque[Caught]
    hour: Lately
    watch: DriftWatch | None = None
    passed_over: int = 0
    accuracy: Accuracy = field(default_factory=Accuracy)
    decisions: Counter[str] = field(default_factory=Counter)
    confidence: Tally = field(default_factory=lambda: Tally(SHARES))
    p_value: Tally = field(default_factory=lambda: Tally(P_VALUES))
    sizes: Tally = field(default_factory=lambda: Tally(SIZES))
    stages: dict[str, Tally] = field(default_factory=lambda: {stage: Tally(LATENCIES) for stage in STAGES})
    queued: int = 0
    flagged: int = 0

    @property
    def detects(self) -> bool:
        """Detectors look at its inputs."""
        return self.loaded is not None and self.loaded.detects

    @property
    def false_alarms(self) -> float:
        """The rate that its detectors are calibrated to; 0 without any."""
        return self.loaded.false_alarms if self.loaded is not None else 0.0

    def add(self, batch: Batch, seen: Read, moment: float, keep: bool, later: Collection[str] = ()) -> None:
        """Count a batch; decisions that aren't final are counted `later`."""
        n = len(batch.decisions)
        known = seen.predictions[seen.predictions >= 0]
        self.predictions += np.bincount(known, minlength=len(self.predictions))[: len(self.predictions)]
        self.decisions.update(word for word in batch.decisions if word not in later)
        self.confidence.add(seen.confidence)
        self.sizes.add_one(n)
        self.stages["compute"].add_one(batch.seconds)
        self.stages["wait"].add(np.fromiter((share.waited for share in batch.shares), float, len(batch.shares)))
        self.queued = batch.queued
        flagged = int(seen.flagged.sum())
        self.lately.add(moment, n, flagged, float(np.nansum(seen.confidence)))
        if self.detects:
            self.p_value.add(batch.p_value)
        if flagged:
            self.flagged += flagged
            self.hour.add(moment, flagged)
            self._catch(batch, seen, moment, keep)

    def _catch(self, batch: Batch, seen: Read, moment: float, keep: bool) -> None:
        rows = np.flatnonzero(seen.flagged)[-(self.caught.maxlen or 1) :]
        for row in rows:
            share = next(one for one in batch.shares if one.start <= row < one.stop)
            self.caught.append(
                Caught(
                    moment,
                    share.id,
                    int(row - share.start),
                    share.key,
                    int(seen.predictions[row]),
                    float(seen.confidence[row]),
                    float(batch.p_value[row]),
                    float(batch.score[row]),
                    batch.decisions[row],
                    batch.x[row].copy() if keep else None,
                    (0.0, 1.0) if self.loaded is None else self.loaded.manifest.box,
                )
            )


@dataclass
class ModelFigures:
    """One model by its name.

    Attributes:
        name: In URLs; ``""``: requests to none that is known.
        lately: Requests, errors, samples, batches, samples in batches.
        hour: Requests and errors, minute by minute.
        latency: Since the start.
        recent: Latency of each of the last minute's ten-second parts, the latest last, and their beginnings.
        minutes: Latency of each of the last hour's minutes that had any, the latest last, with the minute since 1970.
        answers: That labels may come for.
        trouble: Why no version serves.
        refused: Why the version that was to take the place of one that serves didn't.
    """

    name: str
    lately: Lately
    answers: Answers
    hour: Lately
    versions: dict[str, VersionFigures] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    latency: Tally = field(default_factory=lambda: Tally(LATENCIES))
    recent: deque[tuple[float, Tally]] = field(default_factory=lambda: deque(maxlen=6))
    minutes: deque[tuple[int, Tally]] = field(default_factory=lambda: deque(maxlen=60))
    samples: int = 0
    suspicious: int = 0
    loads: Counter[str] = field(default_factory=Counter)
    trouble: str = ""
    refused: str = ""

    def answered(self, moment: float, status: int, samples: int, seconds: float) -> None:
        """Count a request."""
        self.requests[str(status)] += 1
        self.samples += samples
        self.lately.add(moment, 1, status >= 400, samples, 0, 0)
        self.hour.add(moment, 1, status >= 400)
        if status == 200:
            self.latency.add_one(seconds)
            if not self.recent or moment - self.recent[-1][0] >= 10.0:
                self.recent.append((moment, Tally(LATENCIES)))
            self.recent[-1][1].add_one(seconds)
            if not self.minutes or int(moment) // 60 > self.minutes[-1][0]:
                self.minutes.append((int(moment) // 60, Tally(LATENCIES)))
            self.minutes[-1][1].add_one(seconds)
