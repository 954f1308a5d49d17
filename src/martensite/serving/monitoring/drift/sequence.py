"""A stream of scores under sequential tests: the anytime-valid one and CUSUM, on the same p-values."""

import math

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.drift.bag import Bag
from martensite.serving.monitoring.drift.cusum import Cusum
from martensite.serving.monitoring.drift.evidence import Evidence
from martensite.serving.monitoring.drift.outcome import Verdict
from martensite.serving.monitoring.drift.scores import Stream


class Sequence:
    """Watches one stream.

    Args:
        stream: Which.
        bag: Of the reference's scores.
        alpha: Probability that the anytime-valid test ever rings without drift.
        every: Samples between two false alarms of CUSUM.
    """

    def __init__(self, stream: Stream, bag: Bag, alpha: float, every: float) -> None:
        self.evidence, self.cusum = Evidence(stream.bets), Cusum(stream.bets, every)
        self.sequential = Verdict("sequential", stream.name, -math.log10(alpha))
        self.recent = Verdict("cusum", stream.name, math.log10(every))
        self._bag = bag

    def add(self, scores: npt.NDArray[np.floating], moment: float) -> None:
        """Take scores in order; larger is more suspicious."""
        p = self._bag.p_values(scores)
        self.sequential.say(self.evidence.add(p) / math.log(10), moment)
        rang = self.cusum.add(p)
        # After an alarm the statistic begins anew; what is shown is that it rang.
        shown = max(self.cusum.log_c, self.cusum.threshold if rang else -math.inf) / math.log(10)
        self.recent.say(shown, moment, rang=rang)

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Of both tests."""
        return self.sequential, self.recent
