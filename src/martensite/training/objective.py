"""What training minimises: a frozen configuration with one method, `loss`."""

from dataclasses import dataclass, field

from torch import Tensor

from martensite.core.config import Config
from martensite.core.registry import Registry
from martensite.training.context import Context


@dataclass(frozen=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        total: Scalar with a gradient.
        parts: Detached figures by name for the log, e.g. ``{"clean": 0.1, "adversarial": 0.9}``.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(Config):
    """Base of all objectives: parameters, never state."""

    kind: str

    @property
    def replays(self) -> int:
        """Updates that the loop makes on each batch, one `loss` each."""
        return 1

    def loss(self, context: Context, x: Tensor, y: Tensor) -> LossParts:
        """The loss of one batch.

        Args:
            context: The model in training, and the only way to make adversarials (``context.attack``).
            x: (n, *d) clean inputs in the box.
            y: (n,) labels.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss()")


OBJECTIVES: Registry[Objective] = Registry("objective", Objective)
