"""What the sequential tests bet on: a few numbers about each sample."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.bets import BOTH, LOW

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """A score of each sample, and which p-values of it are suspicious.

    Attributes:
        name: In metrics.
        bets: `LOW`: only a score that is too large; `BOTH`: also one that is too small.
    """

    name: str
    bets: int


CONFIDENCE = Stream("confidence", BOTH)
DETECTORS = Stream("detectors", LOW)
INPUTS = Stream("inputs", BOTH)
ERRORS = Stream("accuracy", LOW)


def confidence(logits: npt.NDArray[np.float32]) -> Floats:
    """(n,) logit of the likeliest class over all others: the confidence, spread out near 1."""
    logits = logits.astype(np.float64)
    top = logits.argmax(1)
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, top] = -np.inf
    return logits[rows, top] - np.logaddexp.reduce(others, axis=1)  # type: ignore[no-any-return]


def unlikeness(features: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], spread: npt.NDArray[np.float32]) -> Floats:
    """(n,) mean squared distance of features from the reference's, each in its own standard deviations."""
    return np.square((features - mean) / spread).mean(1)  # type: ignore[no-any-return]
