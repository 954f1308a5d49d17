"""What of an answer leaves the server: the less a client learns, the more queries an extraction or a black-box attack takes.

Tramer et al. 2016, "Stealing Machine Learning Models via Prediction APIs", sec. 7: rounding and withholding confidences.
"""

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt, model_validator

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.serving.outcome import Outcome
from martensite.serving.protocol.response import Values

WITHHELD = frozenset({"refused", "abstained", "failed"})


class Output(Config):
    """Outputs of a model.

    Args:
        scores: ``logits``, ``probabilities``, or ``none``: the label only.
        top_k: Scores of the so many likeliest classes only, with the classes; None: all, in order of class.
        digits: Scores are rounded to so many decimals; None: not.
        detection: Score and p-value of the detectors are given away; else the decision only.
    """

    scores: Literal["logits", "probabilities", "none"] = "probabilities"
    top_k: PositiveInt | None = None
    digits: int | None = Field(default=None, ge=0, le=12)
    detection: bool = True

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.scores == "none" and (self.top_k is not None or self.digits is not None):
            raise ConfigError("top_k or digits with scores: none", "no score is given", "leave them out")
        return self

    def described(self, classes: int, detects: bool) -> dict[str, tuple[str, list[int]]]:
        """Name of every output to datatype and shape, -1 for the number of samples."""
        found: dict[str, tuple[str, list[int]]] = {}
        if self.scores != "none":
            width = classes if self.top_k is None else min(self.top_k, classes)
            found[self.scores] = ("FP32", [-1, width])
            if self.top_k is not None:
                found["classes"] = ("INT64", [-1, width])
        found["label"] = ("INT64", [-1])
        found["decision"] = ("BYTES", [-1])
        if detects and self.detection:
            found |= {"score": ("FP64", [-1]), "p_value": ("FP64", [-1])}
        return found

    def values(self, outcome: Outcome, detects: bool) -> dict[str, Values]:
        """The outputs. A sample without an answer has the label -1 and scores of 0."""
        label = outcome.logits.argmax(1).astype(np.int64)
        silent = [row for row, word in enumerate(outcome.decisions) if word in WITHHELD]
        found: dict[str, Values] = {}
        if self.scores != "none":
            scores = _softmax(outcome.logits) if self.scores == "probabilities" else outcome.logits
            if silent:
                scores = scores.copy()
                scores[silent] = 0.0
            if self.top_k is not None:
                order = np.argsort(-scores, axis=1, kind="stable")[:, : self.top_k].astype(np.int64)
                scores = np.take_along_axis(scores, order, axis=1)
                if silent:
                    order[silent] = -1
            found[self.scores] = scores if self.digits is None else np.round(scores, self.digits)
            if self.top_k is not None:
                found["classes"] = order
        if silent:
            label[silent] = -1
        found["label"] = label
        found["decision"] = [str(word) for word in outcome.decisions]
        if detects and self.detection:
            found |= {"score": outcome.score, "p_value": outcome.p_value}
        return found


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with np.errstate(invalid="ignore", over="ignore"):  # rows that failed are withheld
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)  # type: ignore[no-any-return]
