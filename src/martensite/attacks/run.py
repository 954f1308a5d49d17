"""One run of the engine: takes samples through one attack after another, batch by batch."""

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.budget import Ledger
from martensite.attacks.memory import out_of_memory
from martensite.attacks.oracle import Oracle
from martensite.attacks.ration import Rationed
from martensite.attacks.record import Record
from martensite.attacks.store import Store, counts
from martensite.attacks.verify import Jury, judge
from martensite.core.errors import (
    AccessError,
    BudgetError,
    ConfigError,
    ModelError,
    StorageError,
    ThreatError,
    UnreachableError,
)
from martensite.core.events import Event, Listener
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.models.patience import ask_patiently, said
from martensite.threat import ThreatModel

CERTAIN = 64  # so many samples that an attack refuses, and none that it takes, are no matter of samples


class Run:
    """The state of a run.

    Args:
        clean: (n, *d) inputs on the model's device.
        aim: (n,) the class to leave, or to reach.
        threat: What the adversary may do.
        arbiter: Asks the model that judges.
        ledger: The budget, and what is spent of it.
        batch: Samples a batch.

    Attributes:
        doubtful: (n,) bool: what the last search took for broken, and the judge denied.
        decided: Fewer samples than the budget's ``stop_below`` can be robust: nothing more is run.
        unanswered: (n,) bool: clean inputs to which a model that only answers queries gave no answer.
    """

    def __init__(self, clean: Tensor, aim: Tensor, threat: ThreatModel, arbiter: Oracle, ledger: Ledger, batch: int) -> None:
        self.clean, self.aim, self.threat = clean, aim, threat
        self.arbiter, self.ledger, self.batch = arbiter, ledger, batch
        self.store: Store | None = None
        self.decided = False
        self.failures: list[ModelError] = []

    def ballots(self, draws: int) -> Tensor:
        """(draws, n, K) the model's answers to the clean inputs, NaN where it gave none.

        A batch that doesn't fit in memory is halved, for good.

        Raises:
            ModelError: a model with gradients fails, or one that only answers queries gave no answer at all.
        """
        answers, start, n = [], 0, len(self.clean)
        while start < draws * n:
            first = start % n
            part = self.clean[first : first + self.batch]
            answers.append(self._answers(part))
            self.batch = min(self.batch, self.arbiter.passes.fits or self.batch)
            start += len(part)
        found = torch.cat(answers).view(draws, n, -1)
        self.unanswered = found.isnan().flatten(2).any(2).any(0)
        if bool(self.unanswered.all()):
            raise self.failures[0]
        return found

    def _answers(self, part: Tensor) -> Tensor:
        model = self.arbiter.model
        if model.access >= Access.GRADIENTS:
            return self.arbiter.ballot(part)
        return ask_patiently(self.arbiter.ballot, part, model.classes, self.failures)

    def begin(self, correct: Tensor, success: Tensor, store: Store | None) -> None:
        """Start from what is known of the clean inputs: (n,) classified correctly, (n,) at the goal already."""
        self.correct, self.record, self.store = correct, Record(self.clean, success), store
        self.doubtful, self.finished = torch.zeros_like(success), torch.zeros_like(success)
        if self.failures:
            self.record.error |= self.unanswered
            self.record.messages.append(said(self.failures))
        self._decide()

    def todo(self) -> Tensor:
        """Positions of the samples that no attack has broken, and whose own budget isn't spent."""
        budget, record = self.ledger.budget, self.record
        open_ = ~record.success & ~self.unanswered
        if budget.queries is not None:
            open_ &= record.cost - 1 < budget.queries
        if budget.sample_seconds is not None:
            open_ &= record.seconds <= budget.sample_seconds
        return open_.nonzero().squeeze(1)

    def attack(self, method: Attack, oracle: Oracle, rng: Streams, todo: Tensor, listener: Listener, alone: bool) -> None:
        """Attack the samples at these positions and record what comes of it; ``alone``: no other attack comes after it.

        Raises:
            AccessError: so the attack refuses the first `CERTAIN` samples, one by one, and has taken none: the fault is the
                caller's. Where it takes some, what it refuses are error rows.
            ConfigError: likewise.
            ThreatError: likewise.
            StorageError: the store's disk refuses a write.
            UnreachableError: nobody answers there.
        """
        self.doubtful = torch.zeros_like(self.record.success)
        batches, done, refused = list(torch.split(todo, self.batch))[::-1], 0, 0
        while batches and not self.decided:
            rows = batches.pop()
            if len(rows) > self.batch:
                batches += list(torch.split(rows, self.batch))[::-1]
                continue
            if self.ledger.spent:
                self.record.fail(method.kind, rows, self.ledger.spent)
                continue
            repair = self.threat.repair(self.clean, self.threat.eps if method.bounded and method.ball else None)
            oracle.begin(self.clean[rows], self.record.cost[rows] - 1, self.record.seconds[rows], repair, self.batch)
            try:
                self._candidates(method, oracle, rows, rng[rows])
            except (StorageError, UnreachableError):
                raise
            except Exception as failure:
                if len(rows) == 1 and isinstance(failure, AccessError | ConfigError | ThreatError):
                    refused += 1
                    if refused == min(CERTAIN, len(todo)) and not done:
                        raise
                if len(rows) == 1 and (self.batch == 1 or not out_of_memory(failure)):
                    # A sample that the attack can't take is an error row and never "robust".
                    self.record.fail(method.kind, rows, f"{type(failure).__name__}: {failure}")
                elif out_of_memory(failure):
                    self.batch = max(len(rows) // 2, 1)  # of one sample, what was asked ahead may have been too much
                    batches.append(rows)
                else:
                    batches += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                continue
            if oracle.recorder is not None:
                oracle.recorder.keep()
            self.finished[rows] = alone
            self._decide()
            done += len(rows)
            listener(Event(method.kind, done, len(todo), "sample", {"broken": float(self.record.success.sum())}))

    @property
    def unmeasured(self) -> Tensor:
        """(n,) bool: what a decided run left open."""
        open_ = self.correct & ~self.record.success & ~self.record.error & ~self.finished
        return open_ if self.decided else torch.zeros_like(open_)

    def _decide(self) -> None:
        bound, n = self.ledger.budget.stop_below, len(self.clean)
        left = int((self.correct & ~self.record.success).sum())
        self.decided = bound is not None and left < bound * n - 1e-9

    def _search(self, method: Attack, oracle: Oracle, rows: Tensor, rng: Streams) -> Tensor:
        """The attack's candidates for these samples, from the store if an earlier run left them there."""
        x, aim, before = self.clean[rows], self.aim[rows], counts(oracle)
        file = None if self.store is None else self.store.name(method, x, aim, rng.keys)
        if self.store is not None and file is not None and (kept := self.store.read(file, oracle)) is not None:
            return kept
        candidate = method.perturb(oracle, x, aim, self.threat, rng).detach().to(self.clean.dtype)
        if self.store is not None and file is not None:
            self.store.write(file, candidate, oracle, before)
        return candidate

    def _candidates(self, method: Attack, oracle: Oracle, rows: Tensor, rng: Streams) -> None:
        """Search, judge and record."""
        cut = ""
        rationed = Rationed(oracle) if oracle.account.limited else None
        try:
            candidate = self._search(method, rationed or oracle, rows, rng)
        except BudgetError as error:
            if not oracle.account.refused:  # the attack's own, which no budget asked for
                raise
            candidate, cut = oracle.found, error.value
        if candidate.shape != self.clean[rows].shape:
            raise ModelError(f"{method.kind} returned shape {tuple(candidate.shape)}", "a candidate a sample is needed")
        candidate = candidate if rationed is None else rationed.settled(candidate)
        candidate = oracle.admissible(candidate, torch.arange(len(rows), device=rows.device))
        record, jury = self.record, method.jury
        verdict = judge(self.clean[rows], candidate, self._fresh(candidate, jury), self.aim[rows], self.threat, jury)
        record.take(method, rows, candidate, verdict)
        record.cost[rows] += oracle.account.spent
        record.seconds[rows] += oracle.account.seconds
        overdue = oracle.account.overdue
        if cut and self.ledger.spent:  # by the whole run: nobody's search was finished
            overdue = torch.ones_like(overdue)
        if bool((unfinished := overdue & ~record.success[rows]).any()):
            record.fail(method.kind, rows[unfinished], self.ledger.spent or oracle.account.late)
        moved = (candidate != self.clean[rows]).flatten(1).any(1)  # a search for the nearest returns the clean input for none
        claimed = oracle.claimed if method.bounded else moved & verdict.within
        self.doubtful[rows] = claimed & ~record.success[rows]

    def _fresh(self, candidate: Tensor, jury: Jury) -> Tensor:
        return torch.stack([self.arbiter.ballot(candidate) for _ in range(jury.draws)])
