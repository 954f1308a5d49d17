"""Standard training: cross-entropy on clean inputs."""

from typing import Literal

from torch import Tensor

from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective


@OBJECTIVES.register
class Standard(Objective):
    """Mean cross-entropy, no adversary."""

    kind: Literal["standard"] = "standard"

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """ce(f(x), y)."""
        return LossParts(context.criterion(context.logits(x), y))
