"""Two-step adversarial training: PGD-2 from a random start, at twice the cost of a single step and without its collapse.

PGD-2 is the cheapest attack of several steps, and the baseline that single-step methods are held against in Andriushchenko and
Flammarion 2020, "Understanding and improving fast adversarial training", arXiv:2007.02617, sec. 5: the second gradient, taken
where the first step led, sees the curvature behind which catastrophic overfitting hides from one step. They start at the clean
input with steps of eps / 2; here the start is random and a step is 2.5 eps / 2 long, as in Madry et al. 2018, arXiv:1706.06083.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from martensite.attacks import PGD, Attack
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class TwoStep(Mixture):
    """Two projected steps from a random point of the ball.

    Args:
        mix: Share of the clean loss, in [0, 1).
        step: Length of each step, in eps.
    """

    kind: Literal["two_step"] = "two_step"
    step: PositiveFloat = 1.25

    @property
    def searches(self) -> tuple[Attack, ...]:
        """See `Objective.searches`."""
        return (PGD(steps=2),)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """Two steps of x' <- project(x' + step * eps * steepest(grad ce(f(x'), y)))."""
        return context.attack(PGD(steps=2, step_size=self.step * context.threat.eps), x, y)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return 2 * n, 2 * n
