"""FGSM adversarial training from a random start: one step of gradient instead of ten.

Wong, Rice and Kolter 2020, "Fast is better than free: revisiting adversarial training", arXiv:2001.03994, algorithm 3. At larger
eps or steps it overfits catastrophically: single-step accuracy stays high while PGD accuracy collapses within an epoch (their
sec. 5.4; Andriushchenko and Flammarion 2020, arXiv:2007.02617). Train it under a guard.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from martensite.attacks import PGD, Attack
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class FGSMAT(Mixture):
    """One projected step from a random point of the ball.

    Args:
        mix: Share of the clean loss, in [0, 1).
        step: Length of the step, in eps.
    """

    kind: Literal["fgsm_at"] = "fgsm_at"
    step: PositiveFloat = 1.25

    @property
    def searches(self) -> tuple[Attack, ...]:
        """See `Objective.searches`."""
        return (PGD(steps=1),)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """x' = project(x + u + step * eps * steepest(grad ce(f(x + u), y))), u uniform in the ball."""
        return context.attack(PGD(steps=1, step_size=self.step * context.threat.eps), x, y)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return n, n
