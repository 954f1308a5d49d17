"""What a run knows of each sample so far: the best candidate, and how it was judged."""

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.verify import Judgement


class Record:
    """Outcomes of n samples, updated as candidates are judged.

    Attributes:
        adversarial: (n, *d) the adversarial, or the latest attempt, or the clean input.
        success: (n,) bool.
        distance: (n,) float64 of ``adversarial``; infinite where a minimum-norm attack found none.
        error: (n,) bool: some attack could not be run on it, and none broke it.
        cost: (n,) int64 forward passes.
        seconds: (n,) float64 wall time, if the budget limits it.
        rejected: Candidates outside ball or box.
        messages: What went wrong.
    """

    def __init__(self, clean: Tensor, success: Tensor) -> None:
        self.adversarial, self.success = clean.clone(), success
        self.distance = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        self.error = torch.zeros_like(success)
        self.cost = torch.ones(len(clean), dtype=torch.int64, device=clean.device)
        self.seconds = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        self.rejected = 0
        self.messages: list[str] = []

    def take(self, method: Attack, rows: Tensor, candidate: Tensor, verdict: Judgement) -> None:
        """Record judged candidates for the samples at ``rows``; a candidate outside ball or box is an error row."""
        within = verdict.within if method.ball else torch.ones_like(verdict.within)
        rejected = ~verdict.allowed | (~within & method.bounded)
        if bool(rejected.any()):
            count = int(rejected.sum())
            self.rejected += count
            broken = "".join(f"; {number} broke {rule!r}" for rule, number in verdict.rules)
            where = "outside the ball or box or broke the constraints" if broken else "outside the ball or box"
            self.fail(method.kind, rows[rejected], f"{count} candidates were {where} and were rejected{broken}")
        kept = rows[~rejected]
        self.adversarial[kept], self.distance[kept] = candidate[~rejected], verdict.distance[~rejected]
        if not method.bounded:  # a distance is that of an adversarial: there is none where none was found
            self.distance[rows[~verdict.misclassified | rejected]] = torch.inf
        self.success[rows] = verdict.misclassified & within & ~rejected
        self.error &= ~self.success

    def fail(self, name: str, rows: Tensor, reason: str) -> None:
        """Mark samples as not measured."""
        self.error[rows] = True
        self.messages.append(f"{name}: {reason}")
