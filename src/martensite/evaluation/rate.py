"""A rate with its interval: what every figure of a report is."""

from typing import Literal

from martensite.core.config import Config
from martensite.evaluation.intervals import clopper_pearson, wilson

Method = Literal["clopper-pearson", "wilson", "anytime"]


class Rate(Config):
    """A fraction of samples with its interval.

    Attributes:
        value: count / n.
        low: Lower end of the interval.
        high: Upper end.
        count: Samples that count.
        n: Samples in all.
        confidence: Of the interval.
        method: How the interval was made. ``"anytime"`` holds also where n was chosen by looking at the outcomes.
    """

    value: float
    low: float
    high: float
    count: int
    n: int
    confidence: float = 0.95
    method: Method = "clopper-pearson"

    @classmethod
    def of(
        cls, count: int, n: int, confidence: float = 0.95, method: Literal["clopper-pearson", "wilson"] = "clopper-pearson"
    ) -> "Rate":
        """The rate ``count / n`` with its interval, exact unless Wilson's is asked for."""
        low, high = (clopper_pearson if method == "clopper-pearson" else wilson)(count, n, confidence)
        return cls(value=count / n, low=low, high=high, count=count, n=n, confidence=confidence, method=method)

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


class CurvePoint(Config):
    """Accuracy at one eps of a security curve; eps 0 is clean accuracy."""

    eps: float
    accuracy: Rate
