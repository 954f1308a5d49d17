"""What an attack run leaves behind."""

from dataclasses import dataclass

from torch import Tensor

from martensite.attacks.trace import Trace


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Outcome of one attack on n samples, judged by `verify`, not by the attack.

    Attributes:
        adversarial: (n, *d) the adversarial, or the best attempt, or the clean input of a sample that needed no attack.
        success: (n,) bool: misclassified at the end (also if it was from the start); for a targeted goal, the target reached.
        distance: (n,) distance from the clean input in the threat model's norm; 0 where it was misclassified from the start.
            Of a minimum-norm attack: the least found, infinite where it found no adversarial at all.
        correct: (n,) bool: classified correctly before the attack.
        error: (n,) bool: the attack failed to run on it, or returned a point outside ball or box. Neither robust nor broken. A
            sample whose clean input the model left unanswered is an error, and neither correct nor a success.
        messages: What went wrong, one line for each distinct failure.
        cost: (n,) int64 forward passes spent on each sample.
        forwards: Forward passes times samples.
        backwards: Backward passes times samples.
        seconds: Wall time.
        unmeasured: (n,) bool: the run stopped at a decided bound (`Budget.stop_below`) before it was done with them. Neither
            robust nor broken, and no error.
        decided: The run stopped there: fewer samples than the bound can be robust.
        rejected: Candidates that the verifier found outside ball or box. Any at all is a fault of the attack.
        discarded: Passes of either kind, times samples, that were made ahead of need to fill a batch of few samples, and came to
            nothing. ``cost``, ``forwards`` and ``backwards`` are those of one question after the other, and don't hold them.
        warnings: What bears on how far the outcome can be trusted.
        flat: Samples whose gradient was zero in every feature where the search began.
        seen: Samples whose first gradient was looked at.
        traces: Loss over steps of each search that climbs step by step, if that was asked for.
        batch_size: Samples a batch that the run began with.
        precision: ``"bfloat16"`` if any of the search ran in it, else ``"float32"``, which stands for the model's own.
    """

    adversarial: Tensor
    success: Tensor
    distance: Tensor
    correct: Tensor
    error: Tensor
    messages: tuple[str, ...]
    cost: Tensor
    forwards: int
    backwards: int
    seconds: float
    unmeasured: Tensor
    decided: bool = False
    rejected: int = 0
    discarded: int = 0
    warnings: tuple[str, ...] = ()
    flat: int = 0
    seen: int = 0
    traces: tuple[Trace, ...] = ()
    batch_size: int = 0
    precision: str = "float32"

    @property
    def robust(self) -> Tensor:
        """(n,) bool: correct, attacked to the end without error, and still correct."""
        return self.correct & ~self.success & ~self.error & ~self.unmeasured
