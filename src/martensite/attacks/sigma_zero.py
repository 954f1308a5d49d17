"""sigma-zero: Adam on the margin plus a smooth stand-in for L0, with a threshold that cuts small changes to zero.

Cina, Villani, Pintor, Schoenherr, Biggio and Pelillo 2025, "sigma-zero: gradient-based optimization of l0-norm adversarial
examples", arXiv:2402.01879, algorithm 1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.descent import Adam, anneal
from martensite.attacks.losses import ascend
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import BALLS, Norm, ThreatModel
from martensite.threat.ball import columns


@ATTACKS.register
class SigmaZero(Attack):
    """sigma-zero, for L0. Lengths are in widths of the box.

    Args:
        steps: Gradient steps.
        eta: First step size; annealed to a tenth.
        sigma: Smoothness of the stand-in delta^2 / (delta^2 + sigma).
        tau: First threshold.
        t: By how much of the step size the threshold rises after a success and falls after a failure.
        search: Forward passes at the end, to try how few of the features that weigh most will do; 0: none, as in the paper.
    """

    kind: Literal["sigma_zero"] = "sigma_zero"
    steps: PositiveInt = 1000
    eta: PositiveFloat = 1.0
    sigma: PositiveFloat = 1e-3
    tau: float = Field(default=0.3, ge=0.0, le=1.0)
    t: PositiveFloat = 0.01
    search: NonNegativeInt = 10

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l0",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """delta <- clip(delta - eta Adam(g / |g|_inf)), then what is below tau becomes zero."""
        nearest, point, size = Nearest(oracle, x, y, threat), x, x[0].numel()
        low, width = threat.box[0], threat.box[1] - threat.box[0]
        clean = (x - low) / width
        delta, adam = torch.zeros_like(x), Adam(x)
        tau, eta = torch.full_like(nearest.distance, self.tau), self.eta
        margin = ascend("margin", y, threat.goal)
        for k in range(self.steps):
            logits, gradient = oracle.gradient(point, lambda logits: (-margin(logits)).clamp_min(0.0))
            adversarial = nearest.note(point, logits)
            square = delta.square()
            gradient = width * gradient + (2.0 * self.sigma / size) * delta / (square + self.sigma).square_()
            gradient = BALLS["l0"].steepest_step(gradient, point, threat.box)  # divided by its largest entry
            delta.sub_(adam.direction(gradient), alpha=eta)
            delta = (clean + delta).clamp_(0.0, 1.0).sub_(clean)
            eta = self.eta * anneal(k, self.steps, 0.1)
            tau = (tau + torch.where(adversarial, self.t * eta, -self.t * eta)).clamp_(0.0, 1.0)
            delta.masked_fill_(delta.abs() < columns(tau, x), 0.0)
            point = torch.where(delta == 0, x, (x + width * delta).clamp_(*threat.box))
        nearest.note(point, oracle.logits(point))
        nearest.turn(self.search)
        return nearest.point
