"""How much an attack may spend, and how much a run has spent of it."""

import time

from pydantic import Field, PositiveFloat

from martensite.core.config import Config
from martensite.core.errors import BudgetError


class Budget(Config):
    """Limits; what is left out is not limited.

    Queries are forward passes of the searches: the engine's own looks at the clean inputs and at the candidates come on top. A
    sample that withstands its queries is robust to that adversary. One whose search was cut short by the clock, or by what the
    whole run may spend, was not measured: an error, unless it is broken already.

    Args:
        queries: Forward passes that may be spent on each sample, by all the members of an ensemble together.
        seconds: Wall time of the whole run.
        run_queries: Forward passes, times samples, of the whole run.
        sample_seconds: Wall time that may be spent on each sample; samples that are asked about together share it evenly.
        stop_below: A share of the samples. As soon as fewer than that can still turn out robust, the run stops: the bound is
            decided. What it didn't finish is neither robust nor broken, and no error.
    """

    queries: int | None = Field(default=None, gt=0, le=2**62)
    seconds: PositiveFloat | None = None
    run_queries: int | None = Field(default=None, gt=0, le=2**62)
    sample_seconds: PositiveFloat | None = None
    stop_below: float | None = Field(default=None, gt=0.0, le=1.0)


class Ledger:
    """What one run has spent, over all its searches.

    Args:
        budget: Its limits.

    Attributes:
        queries: Forward passes, times samples.
        spent: Why the run may ask no more; empty while it may.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.queries = 0
        self.spent = ""
        self._started = time.perf_counter()

    def book(self, queries: int) -> None:
        """Take so many queries from what the run may spend.

        Raises:
            BudgetError: they are not to be had, or the run's time is over. None is booked.
        """
        seconds, most = self.budget.seconds, self.budget.run_queries
        if seconds is not None and time.perf_counter() - self._started > seconds:
            self.spent = f"the budget of {seconds:g} seconds is spent"
        elif most is not None and self.queries + queries > most:
            self.spent = f"the run's budget of {most} queries is spent"
        if self.spent:
            raise BudgetError(self.spent, "a search cut short is no measurement", "raise the budget")
        self.queries += queries
