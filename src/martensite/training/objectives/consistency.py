"""Consistency regularisation: the same prediction wherever the noise leads, for randomized smoothing.

Jeong and Shin 2020, "Consistency regularization for certified robustness of smoothed classifiers", arXiv:2006.04062, sec. 3.2:
beside the loss under noise, the divergence of each noisy prediction from their mean, and the entropy of that mean. It searches
for nothing, so that it costs what m noises cost.
"""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes
from martensite.training.objectives.mixture import error


@OBJECTIVES.register
class Consistency(Objective):
    """Cross-entropy under noise, plus what makes the noisy predictions agree; no adversary.

    Args:
        sigma: Standard deviation of the noise, in input units; that of the smoothing to come.
        samples: Of the noise around each input, m in the paper.
        weight: Of the divergence from the mean prediction, lambda in the paper: 5 to 20, more for less noise.
        entropy: Weight of the mean prediction's entropy, eta in the paper.
    """

    kind: Literal["consistency"] = "consistency"
    sigma: PositiveFloat = 0.25
    samples: int = Field(default=2, ge=2)
    weight: NonNegativeFloat = 10.0
    entropy: NonNegativeFloat = 0.5

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """(m * n, *d): x + N(0, sigma^2), all samples with their first noise before all with the second."""
        drawn = context.rng.fork("consistency").normal((self.samples, *x.shape[1:])).to(x)
        return (x + self.sigma * drawn.transpose(0, 1)).flatten(0, 1)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """Mean of ce(p_i, y), plus weight * mean of KL(mean p || p_i), plus entropy * H(mean p)."""
        logits, labels = context.logits(adversarial), y.repeat(self.samples)
        noisy = context.criterion(logits, labels)
        log_p = logits.log_softmax(1).view(self.samples, len(y), -1)
        mean = log_p.exp().mean(0)
        log_mean = mean.clamp_min(1e-20).log()
        disagreement = (mean * (log_mean - log_p)).sum(2).mean()
        unsure = -(mean * log_mean).sum(1).mean()
        parts = {"noisy": noisy.detach(), "disagreement": disagreement.detach(), "error": error(logits, labels)}
        return LossParts(noisy + self.weight * disagreement + self.entropy * unsure, parts)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return 0, 0

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return self.samples * n, self.samples * n

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """None, for the noise."""
        return ()
