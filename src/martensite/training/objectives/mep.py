"""FGSM-MEP: a single step from where this sample's perturbations of all earlier epochs lead.

Jia et al. 2022, "Prior-guided adversarial initialization for fast adversarial training", arXiv:2207.08859, eq. 7 to 10: the start
is moved by the momentum of the sample's past gradients, and the regulariser of eq. 13 pulls the logits at the adversarial towards
those at its start. Stored perturbations belong to the input as it lies in the data: crops and flips turn them away from it.
"""

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn.functional import mse_loss

from martensite.attacks.losses import ascend
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.admissible import admissible, pulled_back
from martensite.training.objectives.mixture import error

DELTA, MOMENTUM, SEEN = "mep.delta", "mep.momentum", "mep.seen"


@OBJECTIVES.register
class MEP(Objective):
    """Keeps two tensors of the size of the training data.

    Args:
        step: Length of the step, in eps.
        decay: Of the momentum, mu in the paper.
        weight: Of the regulariser, lambda in the paper: 10 there, over 110 epochs; in few epochs that leaves little to learn.
    """

    kind: Literal["mep"] = "mep"
    step: PositiveFloat = 1.0
    decay: float = Field(default=0.3, ge=0.0, lt=1.0)
    weight: NonNegativeFloat = 1.0

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """(2 n, *d): x' = project(x + eta + step * eps * g) with g = steepest(grad ce(f(x + eta), y)), and after them x + eta.

        The next eta is project(eta + step * eps * steepest(m)), m <- decay * m + g; the first is random. Constraints are kept by
        what is returned, not by eta.
        """
        threat, memory = context.threat, context.memory
        known = memory.recall(SEEN, x.new_zeros(len(x))).bool().view(-1, *[1] * (x.dim() - 1))
        fresh = threat.random_start(x, context.rng.fork("mep"))
        start = threat.project(torch.where(known, x + memory.recall(DELTA, x), fresh), x)
        length = context.step_size(self.step * threat.eps)
        point, directions = start, []
        for _ in range(context.steps(1)):  # more than one only where a guard has asked for more
            _, gradient = context.gradient(admissible(threat, point, x), ascend("ce", y, threat.goal))
            directions.append(threat.steepest_step(pulled_back(threat, gradient, point, x), point, length))
            point = threat.project(point + length * directions[-1], x)
        momentum = self.decay * memory.recall(MOMENTUM, x) + directions[0]
        following = threat.project(start + self.step * threat.eps * threat.steepest_step(momentum, start, length), x)
        memory.store(MOMENTUM, momentum)
        memory.store(DELTA, following - x)
        memory.store(SEEN, x.new_ones(len(x)))
        return torch.cat([admissible(threat, point, x), admissible(threat, start, x)])

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x'), y) + weight * mean (f(x') - f(x + eta))^2."""
        hard_logits, prior_logits = context.logits(adversarial).chunk(2)
        hard, pull = context.criterion(hard_logits, y), mse_loss(hard_logits, prior_logits)
        parts = {"adversarial": hard.detach(), "pull": pull.detach(), "error": error(hard_logits, y)}
        return LossParts(hard + self.weight * pull, parts)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return n, n

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return 2 * n, 2 * n
