"""Gaussian noise augmentation: what randomized smoothing needs of its base classifier.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918, sec. 3.3.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.mixture import error


@OBJECTIVES.register
class Gaussian(Objective):
    """Cross-entropy under noise; no adversary. The noise leaves the box, as it does when the model is smoothed.

    Args:
        sigma: Standard deviation of the noise, in input units; that of the smoothing to come.
    """

    kind: Literal["gaussian"] = "gaussian"
    sigma: PositiveFloat = 0.25

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """x + N(0, sigma^2)."""
        return x + self.sigma * context.rng.fork("gaussian").normal(x.shape[1:]).to(x)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """ce(f(x + noise), y)."""
        logits = context.logits(adversarial)
        loss = context.criterion(logits, y)
        return LossParts(loss, {"noisy": loss.detach(), "error": error(logits, y)})

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return n, n

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """None."""
        return ()
