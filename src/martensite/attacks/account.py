"""What a search has spent on each sample of a batch, and what the budget leaves to it."""

import time

import torch
from torch import Tensor

from martensite.attacks.budget import Ledger
from martensite.core.errors import BudgetError


class Account:
    """Queries and time, sample by sample.

    Args:
        ledger: The run's budget, and what the whole run has spent of it.
        size: Samples in the batch.
        device: Where the counts are kept.
        queries: int64 (n,) what each sample's budget has lost to earlier searches; None: nothing.
        seconds: float64 (n,) likewise.

    Attributes:
        spent: int64 (n,) forward passes on each sample.
        seconds: float64 (n,) each sample's share of the wall time; kept only where the budget limits it.
        refused: A question was turned down: an attack's own `BudgetError` says nothing of a budget.
    """

    def __init__(
        self,
        ledger: Ledger,
        size: int,
        device: torch.device,
        queries: Tensor | None = None,
        seconds: Tensor | None = None,
    ) -> None:
        self.spent = torch.zeros(size, dtype=torch.int64, device=device)
        self.seconds = torch.zeros(size, dtype=torch.float64, device=device)
        self._ledger = ledger
        self._earlier = self.spent if queries is None else queries, self.seconds if seconds is None else seconds
        self._asked_at = time.perf_counter()
        self.refused = False

    @property
    def limited(self) -> bool:
        """Whether a sample may run out of queries or time while others go on."""
        budget = self._ledger.budget
        return bool(len(self.spent)) and not (budget.queries is None and budget.sample_seconds is None)

    @property
    def late(self) -> str:
        """What is said of a sample whose time is spent."""
        return f"the budget of {self._ledger.budget.sample_seconds:g} seconds a sample is spent"

    @property
    def run_spent(self) -> bool:
        """Whether the whole run may ask no more."""
        return bool(self._ledger.spent)

    def affords(self, queries: int) -> Tensor:
        """int64 (n,) so many queries, or what is left to each sample."""
        most, wanted = self._ledger.budget.queries, torch.full_like(self.spent, queries)
        return wanted if most is None else torch.minimum(wanted, most - self._earlier[0] - self.spent)

    @property
    def overdue(self) -> Tensor:
        """(n,) bool: whose time is spent."""
        most = self._ledger.budget.sample_seconds
        if most is None:
            return torch.zeros_like(self.spent, dtype=torch.bool)
        return self._earlier[1] + self.seconds > most

    def charge(self, queries: int, about: Tensor | None) -> None:
        """Book queries that are about these samples (m,), each as often as it is named; None: all of them.

        Raises:
            BudgetError: a sample, or the run, can't afford them. None is booked.
        """
        self.refused = True  # unless nothing is raised
        self._charge(queries, about)
        self.refused = False

    def _charge(self, queries: int, about: Tensor | None) -> None:
        m = len(self.spent) if about is None else len(about)
        if not (len(self.spent) and m and queries % m == 0):
            self._ledger.book(queries)
            return
        asked = torch.arange(m, device=self.spent.device) if about is None else about
        spent = self.spent.index_add(0, asked, torch.full_like(asked, queries // m))
        if self.limited:
            self._check(asked, spent)
        self._ledger.book(queries)
        self.spent = spent

    def short(self, asked: Tensor) -> Tensor:
        """(n,) bool: who can't afford, in queries or time, to be asked about as often as named among ``asked`` (m,)."""
        self._pass_time(asked)
        wanted = torch.zeros_like(self.spent).index_add(0, asked, torch.ones_like(asked))
        most = self._ledger.budget.queries
        broke = torch.zeros_like(self.overdue) if most is None else self._earlier[0] + self.spent + wanted > most
        return (broke | self.overdue) & (wanted > 0)

    def refund(self, about: Tensor, queries: Tensor) -> None:
        """Take back queries (k,) about these samples (k,)."""
        self.spent = self.spent.index_add(0, about, -queries)

    def _check(self, asked: Tensor, spent: Tensor) -> None:
        """Refuse a question about samples that can't afford it."""
        self._pass_time(asked)
        budget = self._ledger.budget
        if bool(self.overdue[asked].any()):
            raise BudgetError(self.late)
        if budget.queries is not None and int((self._earlier[0] + spent)[asked].max()) > budget.queries:
            raise BudgetError(f"the budget of {budget.queries} queries a sample is spent")

    def _pass_time(self, asked: Tensor) -> None:
        """Share the time since the last question among the samples of this one."""
        now = time.perf_counter()
        share = torch.full(asked.shape, (now - self._asked_at) / max(len(asked), 1), dtype=torch.float64, device=asked.device)
        self.seconds, self._asked_at = self.seconds.index_add(0, asked, share), now
