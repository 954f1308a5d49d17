"""MART: adversarial training that looks harder at samples that are misclassified already.

Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples", ICLR 2020,
openreview.net/forum?id=rklOg6EFwS, eq. 9 to 11.
"""

from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error
from martensite.training.objectives.trades import kl


@OBJECTIVES.register
class MART(Objective):
    """Boosted cross-entropy on adversarials, and a divergence from the clean prediction weighed by how wrong that is.

    Args:
        beta: Weight of the divergence, lambda in the paper.
        attack: What makes the adversarials; any bounded attack.
    """

    kind: Literal["mart"] = "mart"
    beta: NonNegativeFloat = 5.0
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """argmax ce(f(x'), y) in the ball."""
        return context.attack(self.attack, x, y)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x'), y) - log(1 - max_{k != y} p_k(x')) + beta * KL(p(x) || p(x')) * (1 - p_y(x))."""
        clean_logits, hard_logits = context.logits(torch.cat([x, adversarial])).chunk(2)
        boosted = context.criterion(hard_logits, y) - doubt(hard_logits, y).mean()
        wrong = -torch.expm1(clean_logits.log_softmax(1).gather(1, y[:, None]).squeeze(1))
        divergence = (kl(clean_logits, hard_logits) * wrong).mean()
        parts = {"adversarial": boosted.detach(), "divergence": divergence.detach(), "error": error(hard_logits, y)}
        return LossParts(boosted + self.beta * divergence, parts)

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(n, self.attack.passes)

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return 2 * n, 2 * n


def doubt(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) log(1 - max_{k != y} p_k): log-sum-exp over all classes but the best wrong one, minus that over all.

    Finite also where that class has all the probability, so nothing needs to be added inside the logarithm.
    """
    best_wrong = logits.detach().scatter(1, y[:, None], float("-inf")).argmax(1, keepdim=True)
    return logits.scatter(1, best_wrong, float("-inf")).logsumexp(1) - logits.logsumexp(1)
