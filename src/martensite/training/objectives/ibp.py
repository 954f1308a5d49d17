"""IBP: training by interval bounds.

Gowal et al. 2018, "On the effectiveness of interval bound propagation for training verifiably robust models", arXiv:1810.12715,
eq. 12. It needs a `ramp` of eps: at full strength from the start, intervals are so wide that nothing is learnt.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from martensite.certification.bounds.lower import lower
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.mixture import error
from martensite.training.worst_case import INTERVAL_PASSES, worst_logits


@OBJECTIVES.register
class IBP(Objective):
    """kappa ce(f(x), y) + (1 - kappa) ce(worst logits by intervals, y); kappa falls from 1 as the ramp lets eps grow.

    Args:
        kappa: Share of the clean loss once eps is at its full size, in [0, 1).
    """

    kind: Literal["ibp"] = "ibp"
    kappa: float = Field(default=0.5, ge=0.0, lt=1.0)

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """See `Objective.check`; bounds know the model's layers."""
        super().check(model, threat, x, surrogates)
        lower(model, tuple(x.shape[1:]))

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """None: x itself."""
        return x

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The mixture; see the class."""
        return mixed(context, x, y, self.kappa, 0.0)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return n, n

    def bound_passes(self, n: int) -> Passes:
        """See `Objective.bound_passes`."""
        return INTERVAL_PASSES * n, INTERVAL_PASSES * n


def mixed(context: Context, x: Tensor, y: Tensor, kappa: float, linear: float) -> LossParts:
    """The loss of `IBP`, whose bounds are CROWN's to the share ``linear``."""
    logits = context.logits(x)
    clean = context.criterion(logits, y)
    worst = worst_logits(context, x, y, context.threat, linear)
    bound = context.criterion(worst, y)
    share = 1.0 - (1.0 - kappa) * context.strength
    parts = {"clean": clean.detach(), "bound": bound.detach(), "error": error(logits, y), "uncertified": error(worst, y)}
    return LossParts(share * clean + (1.0 - share) * bound, parts)
