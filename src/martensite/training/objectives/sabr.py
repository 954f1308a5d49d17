"""SABR: interval bounds of a small box around an adversarial instead of the whole ball.

Müller et al. 2023, "Certified training: small boxes are all you need", arXiv:2210.04871, sec. 3: the box of lambda eps around a
point that an attack found in the ball of (1 - lambda) eps lies inside the ball, and its bounds are far tighter than the ball's.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.certification.bounds.lower import lower
from martensite.core.errors import ThreatError
from martensite.core.registry import member_of
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error
from martensite.training.worst_case import INTERVAL_PASSES, worst_logits


@OBJECTIVES.register
class SABR(Objective):
    """ce(worst logits of the small box, y). Certify with bounds tighter than intervals; it needs a `ramp` of eps.

    The model is never run in training mode, so that running statistics of batch normalisation stay as they are.

    Args:
        share: Of eps that the small box has, lambda in the paper: 0.4 for Linf 0.1 on MNIST, 0.6 for 0.3.
        attack: What finds the box's centre; any bounded attack.
    """

    kind: Literal["sabr"] = "sabr"
    share: float = Field(default=0.4, gt=0.0, lt=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=8)

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """See `Objective.check`; bounds know the model's layers, and the ball has balls inside it."""
        if threat.norm == "l0":
            raise ThreatError(
                "sabr does not support l0", "a share of a number of features is no smaller ball", "choose linf, l2 or l1"
            )
        super().check(model, threat, x, surrogates)
        lower(model, tuple(x.shape[1:]))

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """Centres of the boxes, in the ball of (1 - share) eps."""
        return context.attack(self.attack, x, y, threat=context.threat.at((1.0 - self.share) * context.threat.eps))

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The bound on the loss in the boxes."""
        worst = worst_logits(context, adversarial, y, context.threat.at(self.share * context.threat.eps))
        loss = context.criterion(worst, y)
        return LossParts(loss, {"bound": loss.detach(), "error": error(worst, y)})

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(n, self.attack.passes)

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return 0, 0

    def bound_passes(self, n: int) -> Passes:
        """See `Objective.bound_passes`."""
        return INTERVAL_PASSES * n, INTERVAL_PASSES * n
