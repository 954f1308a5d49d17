"""Free adversarial training: each backward pass updates the weights and the perturbation at once.

Shafahi et al. 2019, "Adversarial training for free!", arXiv:1904.12843, algorithm 1: m updates on the same batch, and the
perturbation, by place in the batch, is carried over to the next one.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.admissible import admissible, pulled_back
from martensite.training.objectives.mixture import error

DELTA = "free.delta"


@OBJECTIVES.register
class Free(Objective):
    """m replays of each batch; an epoch costs m standard epochs, so train for a fraction 1/m of the epochs.

    Args:
        m: Updates on each batch.
        step: Length of the perturbation's step, in eps.
    """

    kind: Literal["free"] = "free"
    m: PositiveInt = 8
    step: PositiveFloat = 1.0

    @property
    def replays(self) -> int:
        """See `Objective.replays`."""
        return self.m

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """x + delta, which takes its own step when the update's backward pass has brought its gradient.

        Constraints are kept by what is returned, not by delta: it may be on its way across the gap between two whole numbers.
        """
        threat, n = context.threat, len(x)
        delta = context.state.get(DELTA)
        if delta is None or len(delta) < n:
            fresh = torch.zeros_like(x)
            if delta is not None:
                fresh[: len(delta)] = delta
            delta = context.state[DELTA] = fresh
        point = threat.project(x + delta[:n], x).detach()
        adversarial = admissible(threat, point, x).detach().requires_grad_(True)

        def climb() -> None:
            if adversarial.grad is not None:
                length = context.step_size(self.step * threat.eps)
                # With loss scaling an overflow is part of the game.
                gradient = pulled_back(threat, adversarial.grad.nan_to_num(), point, x)
                moved = threat.project(point + length * threat.steepest_step(gradient, point, length), x)
                context.state[DELTA] = torch.cat([moved - x, delta[n:]])

        context.after_backward(climb)
        return adversarial

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x + delta), y)."""
        logits = context.logits(adversarial)
        loss = context.criterion(logits, y)
        return LossParts(loss, {"adversarial": loss.detach(), "error": error(logits, y)})

    def search_passes(self, n: int) -> Passes:
        """None: the update's own passes make the next perturbation."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """Those of one replay."""
        return n, n
