"""PGD: projected ascent on the loss inside an Lp ball.

Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, sec. 2.1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class PGD(Attack):
    """Projected gradient descent on the negative loss.

    Args:
        steps: Gradient steps a restart.
        step_size: In input units; None: 2.5 * eps / steps, which can reach any point of the ball from any other.
        restarts: Independent random starts for the samples that withstand.
        random_start: False: the (only) search starts at the clean input.
        loss: What to climb.
        momentum: Decay of the accumulated direction (Dong et al. 2018, arXiv:1710.06081, eq. 6); 0: none.
    """

    kind: Literal["pgd"] = "pgd"
    steps: PositiveInt = 40
    step_size: PositiveFloat | None = None
    restarts: PositiveInt = 1
    random_start: bool = True
    loss: LossName = "ce"
    momentum: NonNegativeFloat = 0.0

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")
    stepwise: ClassVar[bool] = True

    @property
    def passes(self) -> tuple[int, int]:
        """See `Attack.passes`; after each restart but the last, one forward pass asks who fell at its final step."""
        restarts = self.restarts if self.random_start else 1
        return restarts * self.steps + restarts - 1, restarts * self.steps

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x_{t+1} = project(x_t + step_size * steepest(grad loss(x_t, y))), from a random start; samples leave when broken."""
        step = 2.5 * threat.eps / self.steps if self.step_size is None else self.step_size
        search, point = Survivors(oracle, x, y, threat, rng), x
        for restart in range(self.restarts if self.random_start else 1):
            if restart and len(search):  # whoever fell at the last restart's final step leaves now
                search.drop_broken(oracle.logits(point), point)
            if not len(search):
                break
            point = threat.random_start(search.x, search.rng) if self.random_start else search.x
            velocity = torch.zeros_like(point)
            for _ in range(self.steps):
                logits, gradient = oracle.gradient(point, ascend(self.loss, search.y, threat.goal))
                point, gradient, velocity = search.drop_broken(logits, point, gradient, velocity)
                if not len(search):
                    break
                if self.momentum:
                    gradient = velocity = self.momentum * velocity + threat.steepest_step(gradient, point, step)
                point = search.project(torch.add(point, threat.steepest_step(gradient, point, step), alpha=step))
            search.settle(point)
        return search.found
