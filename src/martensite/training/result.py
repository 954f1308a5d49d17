"""What training leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from martensite.models import Classifier
from martensite.training.ledger import Cost

COMPLETED = "completed"


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch, or of a validation within it; accuracies are on the validation data, None where there was none.

    Attributes:
        number: The epoch, from 1.
        loss: Mean training loss of the epoch so far.
        clean: Clean accuracy.
        robust: Robust accuracy.
        weights: ``"raw"`` or ``"average"``: which of the two was measured, and is the better one.
        update: Batches done.
        lr: Learning rate of the last update.
        parts: Means, over the epoch so far, of what the loss is made of.
    """

    number: int
    loss: float
    clean: float | None
    robust: float | None
    weights: str = "raw"
    update: int = 0
    lr: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovery:
    """One intervention of a guard.

    Attributes:
        guard: Its kind.
        complaint: What it objected to.
        update: Batches done when it did.
        restored: Batches done in the state that training went back to.
        remedy: What was changed.
    """

    guard: str
    complaint: str
    update: int
    restored: int
    remedy: str


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training leaves behind.

    Attributes:
        model: The best model, in evaluation mode.
        history: One `Epoch` an epoch.
        best: Where the model is from: best robust validation accuracy (clean, without a threat model), among those above the
            guards' clean floor if any is.
        forwards: Forward passes times samples, those of attacks, validation and guards included.
        backwards: Backward passes times samples.
        seconds: Wall time, of the processes before a resumption as well: up to the checkpoint that it went on from.
        validations: Every validation, in order.
        recoveries: What the guards did.
        verdict: ``"completed"``, or why a guard ended the run early.
        cost: The ledger.
    """

    model: Classifier
    history: tuple[Epoch, ...]
    best: Epoch
    forwards: int
    backwards: int
    seconds: float
    validations: tuple[Epoch, ...]
    recoveries: tuple[Recovery, ...]
    verdict: str
    cost: Cost

    @property
    def completed(self) -> bool:
        """Whether training ran to its end."""
        return self.verdict == COMPLETED
