"""N-FGSM: a single step from strong noise, which is not clipped back into the ball.

De Jorge et al. 2022, "Make some noise: reliable and efficient single-step adversarial training", arXiv:2202.01181, algorithm 1:
noise of k eps, k about 2, without clipping keeps catastrophic overfitting away at larger eps than a start inside the ball does.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from martensite.attacks import PGD, Attack
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes
from martensite.training.objectives.admissible import admissible
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class NFGSM(Mixture):
    """It trains on points up to (k + alpha) eps from the clean input, inside the box.

    Args:
        mix: Share of the clean loss, in [0, 1).
        k: Radius of the noise, in eps.
        alpha: Length of the step, in eps.
    """

    kind: Literal["nfgsm"] = "nfgsm"
    k: PositiveFloat = 2.0
    alpha: PositiveFloat = 1.0

    @property
    def searches(self) -> tuple[Attack, ...]:
        """See `Objective.searches`."""
        return (PGD(steps=1),)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """x' = clip(x + u + alpha * eps * steepest(grad ce(f(x + u), y))), u uniform in the ball of k eps, clip to the box.

        Under constraints the noisy point is made admissible first: the step starts there.
        """
        noise, step = scaled(context.threat, self.k), scaled(context.threat, self.alpha)
        noisy = admissible(noise, noise.random_start(x, context.rng.fork("nfgsm/noise")), x)
        # A ball of the step's own length around the noisy point clips nothing.
        return context.attack(PGD(steps=1, step_size=step.eps, random_start=False), noisy, y, threat=step)

    def search_passes(self, n: int) -> Passes:
        """See `Objective.search_passes`."""
        return n, n

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """See `Objective.balls`."""
        return (scaled(threat, self.k + self.alpha),)


def scaled(threat: ThreatModel, factor: float) -> ThreatModel:
    """The threat model with eps times the factor, at most the width of the box for Linf."""
    eps, width = factor * threat.eps, threat.box[1] - threat.box[0]
    return threat.at(min(eps, width) if threat.norm == "linf" else eps)
