"""MTL-IBP: a mixture of the loss at adversarials, which is a lower bound on the worst, and of intervals' upper bound on it.

De Palma et al. 2024, "Expressive losses for verified robustness via convex combinations", arXiv:2305.13991, sec. 4.3.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.certification.bounds.lower import lower
from martensite.core.registry import member_of
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error
from martensite.training.worst_case import INTERVAL_PASSES, worst_logits


@OBJECTIVES.register
class MTLIBP(Objective):
    """(1 - alpha) ce(f(x'), y) + alpha ce(worst logits by intervals, y). It needs a `ramp` of eps.

    Args:
        alpha: Share of the bound: 0 is adversarial training, 1 training by intervals. Little is enough for small eps.
        attack: What makes the adversarials; any bounded attack.
    """

    kind: Literal["mtl_ibp"] = "mtl_ibp"
    alpha: float = Field(default=0.1, gt=0.0, le=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=8)

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """See `Objective.check`; bounds know the model's layers."""
        super().check(model, threat, x, surrogates)
        lower(model, tuple(x.shape[1:]))

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The attack's."""
        return context.attack(self.attack, x, y)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The mixture; see the class."""
        logits = context.logits(adversarial)
        hard = context.criterion(logits, y)
        worst = worst_logits(context, x, y, context.threat)
        bound = context.criterion(worst, y)
        parts = {"adversarial": hard.detach(), "bound": bound.detach(), "error": error(logits, y), "uncertified": error(worst, y)}
        return LossParts((1.0 - self.alpha) * hard + self.alpha * bound, parts)

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(n, self.attack.passes)

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return n, n

    def bound_passes(self, n: int) -> Passes:
        """See `Objective.bound_passes`."""
        return INTERVAL_PASSES * n, INTERVAL_PASSES * n
