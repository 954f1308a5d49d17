"""What self-checks look at."""

from dataclasses import dataclass

from torch import Tensor

from martensite.data.dataset import Dataset
from martensite.evaluation.tally import JobTally, Tally
from martensite.models import Access, Model
from martensite.threat import ThreatModel

ONE_STEP = ("fgsm", "fgm")


@dataclass(frozen=True)
class Evidence:
    """An evaluation, as its checks see it.

    Attributes:
        model: What was attacked.
        data: All samples.
        threat: The threat model.
        tally: What every attack found on every sample.
        logits: (n, K) the model's answers to the clean inputs.
        training: Dropout or batch normalisation was in training mode when it was handed over.
        seed: Of the run.
        certified: (n,) radii that hold in the threat model's norm, 0 where there is none; None: nothing is certified.
    """

    model: Model
    data: Dataset
    threat: ThreatModel
    tally: Tally
    logits: Tensor
    training: bool
    seed: int
    certified: Tensor | None = None

    def one_step(self) -> list[JobTally]:
        """Attacks of a single gradient step that ran on every sample."""
        return [one for one in self.tally.judging if one.job.role == "all" and one.method.kind in ONE_STEP and by_gradients(one)]

    def iterative(self) -> list[JobTally]:
        """Attacks by gradients in many steps, inside the ball, that ran on every sample."""
        return [
            one
            for one in self.tally.judging
            if one.job.role == "all" and by_gradients(one) and one.method.bounded and one.method.kind not in ONE_STEP
        ]


def by_gradients(one: JobTally) -> bool:
    """Whether an attack follows the model's own gradients, not those of a surrogate."""
    return one.method.needs >= Access.GRADIENTS and one.job.surrogate is None
