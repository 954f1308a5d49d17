"""Tests on window after window: features one by one, predictions, embeddings. Each window has its own level; see `spending`."""

import math

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.classes import chi_squared, label_shares, largest_change
from martensite.serving.monitoring.drift.ks import any_feature, ks
from martensite.serving.monitoring.drift.mmd import bandwidth, cross_mmd
from martensite.serving.monitoring.drift.outcome import Verdict
from martensite.serving.monitoring.drift.reference import Reference
from martensite.serving.monitoring.drift.spending import level

DECADES = 300.0  # beyond which a p-value is 0 to a computer


class Windows:
    """Collects samples until a window is full.

    Args:
        reference: What they are compared with.
        alpha: Of each of the three tests, for ever.
        size: Samples a window of features and predictions.
        embedded: Samples a window of embeddings.
    """

    def __init__(self, reference: Reference, alpha: float, size: int, embedded: int) -> None:
        self._reference, self._alpha, self._size, self._embedded = reference, alpha, size, embedded
        self._features: list[npt.NDArray[np.float32]] = []
        self._predictions: list[npt.NDArray[np.int64]] = []
        self._embeddings: list[npt.NDArray[np.float32]] = []
        self._counts = np.bincount(reference.predicted, minlength=reference.about.classes)
        half = len(reference.embeddings) // 2
        self._width = bandwidth(reference.embeddings[:half])
        self.done = {"ks": 0, "mmd": 0, "classes": 0}
        first = -math.log10(level(alpha, 1))
        self.ks = Verdict("ks", "features", first)
        self.mmd = Verdict("mmd", "embeddings", first)
        self.classes = Verdict("classes", "predictions", first)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of the three tests."""
        return self.ks, self.mmd, self.classes

    def add(self, features: npt.NDArray[np.float32], predictions: npt.NDArray[np.int64], moment: float) -> None:
        """Take samples' features (n, p) and predictions (n,)."""
        self._features.append(features)
        self._predictions.append(predictions)
        while sum(len(one) for one in self._predictions) >= self._size:
            features, predictions = np.concatenate(self._features), np.concatenate(self._predictions)
            self._features, self._predictions = [features[self._size :]], [predictions[self._size :]]
            self._look_at_features(features[: self._size], moment)
            self._look_at_predictions(predictions[: self._size], moment)

    def add_embeddings(self, embeddings: npt.NDArray[np.float32], moment: float) -> None:
        """Take embeddings (n, f)."""
        self._embeddings.append(embeddings)
        while sum(len(one) for one in self._embeddings) >= self._embedded:
            found = np.concatenate(self._embeddings)
            self._embeddings = [found[self._embedded :]]
            statistic, p = cross_mmd(self._reference.embeddings, found[: self._embedded], self._width)
            self._say(self.mmd, p, moment, f"studentised MMD {statistic:.2f}")

    def _look_at_features(self, window: npt.NDArray[np.float32], moment: float) -> None:
        distances, p = ks(self._reference.features, window)
        worst = int(p.argmin())
        self._say(self.ks, any_feature(p), moment, f"{self._reference.feature_names[worst]}: D = {distances[worst]:.3f}")

    def _look_at_predictions(self, predictions: npt.NDArray[np.int64], moment: float) -> None:
        found = np.bincount(predictions, minlength=len(self._counts))
        _, p = chi_squared(self._counts, found)
        most = largest_change(self._counts, found)
        before, after = self._counts[most] / self._counts.sum(), found[most] / found.sum()
        detail = f"predicted {most}: {before:.1%} before, {after:.1%} now"
        labels = label_shares(self._reference.confusion, found)
        if labels is not None:
            known = np.bincount(self._reference.labels, minlength=len(found)) / self._reference.about.n
            most = largest_change(known, labels)
            detail += f"; label {most}: {known[most]:.1%} before, about {labels[most]:.1%} now if only the labels shifted"
        self._say(self.classes, p, moment, detail)

    def _say(self, verdict: Verdict, p: float, moment: float, detail: str) -> None:
        self.done[verdict.name] += 1
        threshold = -math.log10(level(self._alpha, self.done[verdict.name]))
        decades = DECADES if p < 10.0**-DECADES else max(-math.log10(p), 0.0)
        verdict.say(decades, moment, threshold=threshold, p_value=p, detail=detail)
