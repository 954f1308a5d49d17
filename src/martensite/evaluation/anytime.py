"""Intervals and decisions that hold at any time: after every block of samples, and for as long as one likes.

The tests are those of certification (`certification.anytime`: a nonnegative supermartingale and Ville's inequality). The interval
is their inversion: all rates that the capital has not rejected. It covers the true rate at all times at once with the stated
confidence, so that a run may stop as soon as it has seen enough; Clopper and Pearson's interval would not survive that.
"""

from math import log
from typing import Literal, Self

from pydantic import Field

from martensite.certification.anytime import log_capital
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.evaluation.rate import Rate

ALPHA = 0.025  # chance of a wrong PASS, and of a wrong FAIL, as of a 95 % interval

HALVINGS = 50


class Decision(Config):
    """Whether a rate is at least a threshold.

    Attributes:
        at_least: The threshold.
        verdict: PASS or FAIL as soon as either is certain enough, INCONCLUSIVE if the samples ran out before, or while what was
            found makes the figures decide nothing.
        alpha: Chance of a wrong PASS, and of a wrong FAIL, over all looks there could be.
        samples: That were looked at.
        available: That there were.
    """

    at_least: float = Field(gt=0.0, lt=1.0)
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    alpha: float
    samples: int
    available: int

    def doubted(self, doubt: bool) -> Self:
        """The same, INCONCLUSIVE where there is such a doubt."""
        return self.model_copy(update={"verdict": "INCONCLUSIVE"}) if doubt else self


def decide(count: int, n: int, at_least: float, alpha: float = ALPHA) -> Literal["PASS", "FAIL", "INCONCLUSIVE"]:
    """Judge ``count`` successes of ``n``: is the rate at least so much?

    Args:
        count: Successes so far.
        n: Samples so far.
        at_least: The threshold, in (0, 1).
        alpha: See `Decision`.
    """
    if n and _rejects(n, n - count, 1 - at_least, alpha):
        return "PASS"
    if n and _rejects(n, count, at_least, alpha):
        return "FAIL"
    return "INCONCLUSIVE"


def decision(count: int, n: int, at_least: float, available: int) -> Decision:
    """What `decide` says of ``count`` robust samples among the ``n`` seen of those ``available``.

    Raises:
        ConfigError: ``at_least`` outside (0, 1).
    """
    if not 0 < at_least < 1:
        raise ConfigError(f"at_least is {at_least}", "it lies strictly between 0 and 1", "e.g. 0.6")
    verdict = decide(count, n, at_least)
    return Decision(at_least=at_least, verdict=verdict, alpha=ALPHA, samples=n, available=available)


def anytime_rate(count: int, n: int, confidence: float = 0.95) -> Rate:
    """The rate ``count / n`` with an interval that holds whatever made the run stop."""
    alpha = (1 - confidence) / 2
    low = 1 - _upper(n - count, n, alpha)
    return Rate(value=count / n, low=low, high=_upper(count, n, alpha), count=count, n=n, confidence=confidence, method="anytime")


def _rejects(n: int, misses: int, q: float, alpha: float) -> bool:
    """Whether a miss rate of q or more is out of the question."""
    return misses < q * n and log_capital(n, misses, q) >= -log(alpha)


def _upper(misses: int, n: int, alpha: float) -> float:
    """The least miss rate that is rejected: all below it are not."""
    low, high = misses / n, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if middle < 1.0 and _rejects(n, misses, middle, alpha) else (middle, high)
    return high
