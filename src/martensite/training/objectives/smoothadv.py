"""SmoothAdv: adversarial training of the smoothed classifier.

Salman et al. 2019, "Provably robust deep learning via adversarially trained smoothed classifiers", arXiv:1906.04584: the attack
climbs the cross-entropy of the soft smoothed classifier, -log E softmax(f(x' + noise))_y, estimated by m samples of the noise
(eq. 6), and training then uses the same samples of noise around what the attack found (sec. 3.3).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack, Oracle
from martensite.attacks.losses import Loss
from martensite.core.registry import member_of
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.mixture import error


@OBJECTIVES.register
class SmoothAdv(Objective):
    """Noise around adversarials of the smoothed classifier; meant for L2, whose radius smoothing certifies.

    Args:
        sigma: Standard deviation of the noise, in input units; that of the smoothing to come.
        samples: Of the noise, m in the paper.
        attack: What makes the adversarials; any bounded attack by gradients.
    """

    kind: Literal["smoothadv"] = "smoothadv"
    sigma: PositiveFloat = 0.25
    samples: PositiveInt = 2
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=4)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """(m * n, *d): x' + noise_i, all samples with the first noise before all with the second."""
        drawn = context.rng.fork("smoothadv").normal((self.samples, *x.shape[1:])).to(x)
        noise = self.sigma * drawn.transpose(0, 1)
        adversarial = context.attack(self.attack, x, y, lens=lambda oracle: SoftSmoothed(oracle, noise))
        return (adversarial + noise).flatten(0, 1)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """Mean over the noise of ce(f(x' + noise_i), y)."""
        logits, labels = context.logits(adversarial), y.repeat(self.samples)
        loss = context.criterion(logits, labels)
        return LossParts(loss, {"adversarial": loss.detach(), "error": error(logits, labels)})

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        return times(self.samples * n, self.attack.passes)

    def update_passes(self, n: int) -> Passes:
        """See `Objective.update_passes`."""
        return self.samples * n, self.samples * n

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """None, for the noise."""
        return ()


class SoftSmoothed(Oracle):
    """An oracle that answers for the soft smoothed classifier: logits are log (1 / m) sum_i softmax(f(x + noise_i)).

    The noise is the same for every question, so that a search climbs one function. All else (counts, places, the best points so
    far) is the other oracle's.

    Args:
        base: Of the classifier itself.
        noise: (m, n, *d).
    """

    def __init__(self, base: Oracle, noise: Tensor) -> None:
        self.__dict__.update(_base=base, _noise=noise)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_base"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._base, name, value)

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.logits`."""
        return self._soft(self._base.logits((x + self._noise_for(x, rows)).flatten(0, 1), rows))

    def labels(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.labels`."""
        return self.logits(x, rows).argmax(1)

    def ballot(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `Oracle.ballot`."""
        return self.logits(x, rows)

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        rows: Tensor | None = None,
        through: Callable[[Tensor], Tensor] | None = None,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Oracle.gradient`: the sum of the copies' gradients is the gradient at x."""
        noise = self._noise_for(x, rows)

        def each_round(change: Callable[[Tensor], Tensor], copies: Tensor) -> Tensor:
            return torch.cat([change(each) for each in copies.chunk(len(noise))])

        def noisy(copies: Tensor) -> Tensor:
            seen = copies if view is None else each_round(view, copies)
            return seen + noise.flatten(0, 1)

        made = None if through is None else partial(each_round, through)
        copies = x.repeat(len(noise), *[1] * (x.dim() - 1))
        logits, gradient = self._base.gradient(copies, lambda each: loss(self._soft(each)), rows, made, noisy)
        return self._soft(logits), gradient.view_as(noise).sum(0)

    def _noise_for(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """(m, len(x), *d)."""
        about = self.places if rows is None else rows
        noise: Tensor = self._noise if about is None else self._noise[:, about]
        return noise.repeat(1, len(x) // noise.shape[1], *[1] * (x.dim() - 1))

    def _soft(self, logits: Tensor) -> Tensor:
        m = len(self._noise)
        soft: Tensor = logits.log_softmax(1).view(m, -1, logits.shape[1]).logsumexp(0) - math.log(m)
        return soft
