"""What a guard is: a frozen configuration that reads the figures of a run and may object."""

from collections.abc import Sequence
from dataclasses import dataclass

from martensite.core.config import Config
from martensite.core.registry import Registry


@dataclass(frozen=True)
class Figures:
    """What was measured at one check, on the probe: a fixed, stratified part of the validation data.

    Attributes:
        update: Batches done.
        loss: Mean training loss of the epoch so far.
        finite: Whether loss and logits are numbers; where they aren't, loss and clean accuracy are given as zero.
        clean: Clean accuracy.
        single_step: Accuracy after one gradient step of eps from the clean input on every sample, also those misclassified
            before it; None: no adversary, or not in this norm.
        robust: Accuracy under the guards' attack; None likewise.
        chance: Accuracy of always naming the most frequent class.
    """

    update: int
    loss: float
    finite: bool
    clean: float
    single_step: float | None
    robust: float | None
    chance: float


@dataclass(frozen=True)
class Remedy:
    """What changes when training goes on from the last good state.

    Attributes:
        level: How often the attack's steps are doubled and its step size halved.
        rate: Factor of the learning rate.
        gradalign: Weight of the `gradalign` penalty that is added to the loss.
    """

    level: int = 0
    rate: float = 1.0
    gradalign: float = 0.0

    def __str__(self) -> str:
        parts = []
        if self.level:
            parts.append(f"{2**self.level} times the attack steps, each shorter by as much")
        if self.gradalign:
            parts.append(f"a gradient alignment penalty of weight {self.gradalign:g}")
        if self.rate != 1.0:
            parts.append(f"the learning rate times {self.rate:g}")
        return ", ".join(parts) or "nothing but new random draws"


class Guard(Config):
    """Base of all guards."""

    kind: str

    @property
    def remedy(self) -> Remedy:
        """What to change after it has objected."""
        return Remedy(rate=0.5)

    def complaint(self, trace: Sequence[Figures]) -> str:
        """What is wrong, in a line; empty if nothing is.

        Args:
            trace: The figures of all checks that led to this state, the latest last; at least one.
        """
        raise NotImplementedError(f"{type(self).__name__} must define complaint()")

    def doubts(self, trace: Sequence[Figures]) -> bool:
        """Whether a state that this guard doesn't object to yet is none to go back to.

        Args:
            trace: See `complaint`.
        """
        return False


GUARDS: Registry[Guard] = Registry("guard", Guard)
