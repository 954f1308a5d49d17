"""TRADES: clean accuracy and smoothness around the data, weighed against each other.

Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", arXiv:1901.08573, eq. 5 and algorithm 1.
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor
from torch.nn.functional import kl_div

from martensite.attacks import APGD, ATTACKS, PGD, Attack
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error


@OBJECTIVES.register
class TRADES(Objective):
    """Cross-entropy on clean inputs plus beta times the divergence of adversarial from clean predictions.

    The authors start the search next to the clean input, where the divergence is flat; here it starts anywhere in the ball.

    Args:
        beta: Weight of robustness, 1 / lambda in the paper; 1 to 6 are usual.
        attack: What climbs the divergence: pgd with a random start, or apgd; its loss must be ``"ce"``, which with the clean
            prediction for a target differs from the divergence by a constant.

    Raises:
        ConfigError: another attack.
    """

    kind: Literal["trades"] = "trades"
    beta: NonNegativeFloat = 6.0
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)

    @model_validator(mode="after")
    def _climbs(self) -> Self:
        leaves = isinstance(self.attack, APGD) or (isinstance(self.attack, PGD) and self.attack.random_start)
        if not leaves or getattr(self.attack, "loss", None) != "ce":
            raise ConfigError(
                f"trades was given the attack {self.attack.model_dump(mode='json')}",
                "it climbs the divergence from the clean prediction, by cross-entropy and from a random start: at the clean "
                "input the gradient is zero",
                "choose pgd or apgd with loss ce",
            )
        return self

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """argmax KL(f(x) || f(x')) in the ball; the clean prediction is made once, and is a constant."""
        return context.attack(self.attack, x, context.scores(x).softmax(1))

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x), y) + beta * KL(f(x) || f(x')), with a gradient through both predictions."""
        clean_logits, hard_logits = context.logits(torch.cat([x, adversarial])).chunk(2)
        clean = context.criterion(clean_logits, y)
        divergence = kl(clean_logits, hard_logits).mean()
        parts = {"clean": clean.detach(), "divergence": divergence.detach(), "error": error(hard_logits, y)}
        return LossParts(clean + self.beta * divergence, parts)

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`; one forward pass for the clean prediction."""
        attack = times(n, self.attack.passes)
        return None if attack is None else (attack[0] + n, attack[1])

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return 2 * n, 2 * n


def kl(clean: Tensor, adversarial: Tensor) -> Tensor:
    """(n,) KL(softmax(clean) || softmax(adversarial)) of logits (n, K), finite also where a softmax is saturated."""
    return kl_div(adversarial.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)
