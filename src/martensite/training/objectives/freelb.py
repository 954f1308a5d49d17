"""FreeLB: every step of the adversary's search also trains, so that K adversarials cost K passes instead of 2K.

Zhu et al. 2020, "FreeLB: Enhanced adversarial training for natural language understanding", arXiv:1909.11764, algorithm 1 and
eq. 3. It was made for word vectors (`martensite.data.text`) and asks nothing of the input but a ball around it.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.admissible import admissible, pulled_back


@OBJECTIVES.register
class FreeLB(Objective):
    """The mean loss at the K points x + delta_0 ... x + delta_{K-1} of a projected ascent, in training mode.

    The start is uniform in the ball of the threat model, where the paper takes a cube inside it, and the whole sequence shares
    one eps, padding included.

    Args:
        steps: K, points on the way; the model sees K times the batch.
        step_size: In input units; None: 2.5 * eps / steps.
    """

    kind: Literal["freelb"] = "freelb"
    steps: PositiveInt = 3
    step_size: PositiveFloat | None = None

    def search_passes(self, n: int) -> Passes:
        """None: the updates' own passes lead on."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return self.steps * n, self.steps * n

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """mean_t ce(f(x + delta_t), y), with delta_{t+1} = project(delta_t + step_size * steepest(gradient at delta_t)).

        Under constraints the model sees the admissible point next to x + delta_t.
        """
        threat, steps = context.threat, context.steps(self.steps)
        step = 2.5 * threat.eps / steps if self.step_size is None else context.step_size(self.step_size)
        weights = [parameter for parameter in context.model.parameters() if parameter.requires_grad]
        gathered = [torch.zeros_like(weight) for weight in weights]
        point, losses = threat.random_start(x, context.rng.fork("freelb")), []
        for _ in range(steps):
            seen = admissible(threat, point, x).detach().requires_grad_(True)
            loss = context.criterion(context.logits(seen), y) / steps
            # One backward pass gives both gradients: to climb by, and to descend by.
            climb, *descend = torch.autograd.grad(loss, [seen, *weights], allow_unused=True)
            gathered = [sum_ if gradient is None else sum_ + gradient for sum_, gradient in zip(gathered, descend, strict=True)]
            losses.append(loss.detach())
            climb = pulled_back(threat, climb, point, x)
            point = threat.project(point + step * threat.steepest_step(climb, point, step), x)
        mean = torch.stack(losses).sum()
        # Linear in the weights: its gradient is what was gathered, at no further pass. Only its value has to be put right.
        linear = torch.stack([(weight * gradient).sum() for weight, gradient in zip(weights, gathered, strict=True)]).sum()
        return LossParts(mean + (linear - linear.detach()), {"adversarial": mean})
