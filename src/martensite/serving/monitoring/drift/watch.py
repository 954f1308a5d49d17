"""The drift watch over one version: every test there is, on the samples it is given."""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.bag import Bag
from martensite.serving.monitoring.drift.outcome import Verdict
from martensite.serving.monitoring.drift.reference import Reference
from martensite.serving.monitoring.drift.scores import CONFIDENCE, DETECTORS, ERRORS, INPUTS, Stream, confidence, unlikeness
from martensite.serving.monitoring.drift.sequence import Sequence
from martensite.serving.monitoring.drift.settings import DriftSettings
from martensite.serving.monitoring.drift.views import view
from martensite.serving.monitoring.drift.windows import Windows
from martensite.serving.monitoring.snapshot import Drift

WINDOWED = 3

Floats = npt.NDArray[np.float32]


class DriftWatch:
    """Looks at samples in one thread, while others ask how it stands.

    Args:
        reference: Statistics to measure drift from.
        settings: Windows and thresholds.
        embed: From inputs (n, *d) to embeddings, as the reference's were made.
        rng: Of ties and of which samples are embedded; None: from the system, so that nobody can foresee it.
    """

    def __init__(
        self,
        reference: Reference,
        settings: DriftSettings,
        embed: Callable[[Floats], Floats],
        rng: np.random.Generator | None = None,
    ) -> None:
        self.reference, self.settings, self._embed = reference, settings, embed
        self._rng = rng or np.random.default_rng()
        given = {CONFIDENCE: reference.confidence, INPUTS: reference.unlikeness}
        if len(reference.p_values):
            given[DETECTORS] = -reference.p_values
        alpha = settings.false_alarms / (WINDOWED + len(given) + 1)
        self._windows = Windows(reference, alpha, settings.window, settings.embedded_window)
        self._streams = {
            stream: Sequence(stream, Bag(scores[::2], scores[1::2], self._rng), alpha, settings.cusum_every)
            for stream, scores in given.items()
        }
        wrong = (reference.predicted != reference.labels).astype(np.float64)
        self._errors = Sequence(ERRORS, Bag(np.array([0.0, 1.0]), wrong, self._rng), alpha, settings.cusum_every)
        self._working = threading.Lock()
        self._owed: deque[tuple[npt.NDArray[np.bool_], float]] = deque()
        self.samples = 0
        self._shown, self._stale = self._record(), False

    def see(self, x: Floats, logits: Floats, p_value: npt.NDArray[np.float64], moment: float) -> None:
        """Look at samples.

        Args:
            x: (n, *d) as the model took them.
            logits: (n, K); rows that aren't finite are passed over.
            p_value: (n,) of the detectors; NaN where there are none.
            moment: Seconds since 1970.
        """
        fit = np.isfinite(logits).all(1)
        x, logits, p_value = x[fit], logits[fit], p_value[fit]
        if not len(x):
            return
        features = view(x)
        chosen = x[self._rng.random(len(x)) < self.settings.embedded_share]
        embeddings = self._embed(chosen) if len(chosen) else None
        scores: dict[Stream, npt.NDArray[np.floating]] = {
            CONFIDENCE: confidence(logits),
            INPUTS: unlikeness(features, self.reference.mean, self.reference.spread),
            DETECTORS: -p_value,
        }
        with self._working:
            self.samples += len(x)
            for stream, sequence in self._streams.items():
                sequence.add(scores[stream].astype(np.float32), moment)
            self._windows.add(features, logits.argmax(1), moment)
            if embeddings is not None:
                self._windows.add_embeddings(embeddings, moment)
            self._stale = True
        self._settle()

    def label(self, correct: npt.NDArray[np.bool_], moment: float) -> None:
        """Learn which of some answers were right. Never waits: what comes while samples are looked at is taken afterwards."""
        self._owed.append((correct, moment))
        self._settle()

    def show(self) -> Drift:
        """How it stands; while samples are looked at, how it stood before. Never waits."""
        if self._stale and self._working.acquire(blocking=False):
            try:
                self._shown, self._stale = self._record(), False
            finally:
                self._working.release()
            self._settle()
        return self._shown

    def _settle(self) -> None:
        # Whoever holds the lock comes here after letting it go, so that nothing stays owed.
        while self._owed and self._working.acquire(blocking=False):
            try:
                while self._owed:
                    correct, moment = self._owed.popleft()
                    self._errors.add((~correct).astype(np.float64), moment)
                self._stale = True
            finally:
                self._working.release()

    def _record(self) -> Drift:
        verdicts = self._verdicts
        return Drift(
            watched=True,
            samples=self.samples,
            alarm=any(one.alarm for one in verdicts),
            tests=tuple(one.show() for one in verdicts),
            expected=self.reference.accuracy,
        )

    @property
    def _verdicts(self) -> list[Verdict]:
        sequences = [*self._streams.values(), self._errors]
        return [*self._windows.verdicts, *(one for sequence in sequences for one in sequence.verdicts)]
