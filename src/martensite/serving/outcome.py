"""What a model made of some samples, before anything is withheld."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from martensite.defenses import Response
from martensite.serving.observer import Decision, Routed

WORDS: dict[str, Decision] = {"answer": "answered", "flagged": "flagged", "abstained": "abstained"}
GRAVITY: tuple[Decision, ...] = ("answered", "abstained", "routed", "flagged", "refused", "failed")


@dataclass(frozen=True)
class Outcome:
    """Rows in order.

    Attributes:
        logits: (n, K) float32.
        decisions: n words.
        score: (n,) of the detector that spoke loudest; NaN: none is installed.
        p_value: (n,) of all detectors together, likewise.
        routed: What another model had a part in; None: it had none.
    """

    logits: npt.NDArray[np.float32]
    decisions: list[Decision]
    score: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    routed: Routed | None = None

    @classmethod
    def plain(cls, logits: npt.NDArray[np.float32]) -> "Outcome":
        """Of a model without detectors. A row that isn't finite has failed."""
        n = len(logits)
        finite = np.isfinite(logits.min(axis=1) - logits.max(axis=1))  # NaN and infinity survive both
        decisions: list[Decision] = ["answered"] * n if finite.all() else ["answered" if one else "failed" for one in finite]
        return cls(logits, decisions, np.full(n, np.nan), np.full(n, np.nan))

    @classmethod
    def of(cls, response: Response) -> "Outcome":
        """Of a defended model. The score is that of the detector with the least p-value of its own."""
        plain = cls.plain(response.logits.float().numpy())
        decisions = plain.decisions
        if response.flagged.any() or response.abstained.any():
            said = zip(decisions, response.decisions, strict=True)
            decisions = [word if word == "failed" else WORDS[one] for word, one in said]
        if response.p_value is None:
            return replace(plain, decisions=decisions)
        scores = response.each_score.numpy()
        score = scores[np.arange(len(scores)), response.each_p.numpy().argmin(1)]
        return cls(plain.logits, decisions, score, response.p_value.numpy())

    @classmethod
    def joined(cls, parts: Sequence["Outcome"]) -> "Outcome":
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([one.logits for one in parts]),
            [word for one in parts for word in one.decisions],
            np.concatenate([one.score for one in parts]),
            np.concatenate([one.p_value for one in parts]),
        )

    def rows(self, start: int, stop: int) -> "Outcome":
        """Some of it."""
        return Outcome(self.logits[start:stop], self.decisions[start:stop], self.score[start:stop], self.p_value[start:stop])

    @property
    def gravest(self) -> Decision:
        """The worst of the decisions."""
        return max(self.decisions, key=GRAVITY.index)
