"""Standard training: cross-entropy on clean inputs."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective


@OBJECTIVES.register
class Standard(Objective):
    """Mean cross-entropy, no adversary."""

    kind: Literal["standard"] = "standard"

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """ce(f(x), y)."""
        return LossParts(cross_entropy(context.logits(x), y))
