"""Standard training: cross-entropy on clean inputs."""

from typing import Literal

from torch import Tensor

from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes


@OBJECTIVES.register
class Standard(Objective):
    """Mean cross-entropy, no adversary."""

    kind: Literal["standard"] = "standard"

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The clean inputs themselves."""
        return x

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x), y)."""
        return LossParts(context.criterion(context.logits(adversarial), y))

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return n, n

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """See `Objective.balls`."""
        return (threat,)
