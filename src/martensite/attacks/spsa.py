"""SPSA: Adam on the margin, with gradients estimated by simultaneous perturbation.

Uesato, O'Donoghue, van den Oord and Kohli 2018, "Adversarial risk and the dangers of evaluating against weak attacks",
arXiv:1802.05666, algorithm 1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.estimate import estimate
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

BETA_1, BETA_2, STABLE = 0.9, 0.999, 1e-8  # of Adam


@ATTACKS.register
class SPSA(Attack):
    """Simultaneous perturbation stochastic approximation.

    Args:
        queries: Forward passes on each sample at most; a step takes 2 * samples + 1, so the default is 100 steps.
        samples: Random directions a step, each asked about in both senses.
        lr: Learning rate of Adam, in widths of the box.
        delta: How far the points lie that the gradient is estimated from, in widths of the box.
        loss: What to climb.
    """

    kind: Literal["spsa"] = "spsa"
    queries: PositiveInt = 25_700
    samples: PositiveInt = 128
    lr: PositiveFloat = 0.01
    delta: PositiveFloat = 0.01
    loss: LossName = "margin"

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' <- project(x' + Adam(g)), g the mean of (J(x' + delta v) - J(x' - delta v)) / (2 delta) v over random signs v."""
        search, width = Survivors(oracle, x, y, threat, rng), threat.box[1] - threat.box[0]
        point, m, v = x, torch.zeros_like(x), torch.zeros_like(x)
        for step in range(1, self.queries // (2 * self.samples + 1) + 1):
            gradient, _ = estimate(
                oracle, point, lambda times: ascend(self.loss, search.y.repeat(times), threat.goal),
                lambda count: search.rng.sign((count, *x.shape[1:])), self.samples, self.delta * width, threat.box,
            )  # fmt: skip
            m, v = BETA_1 * m + (1.0 - BETA_1) * gradient, BETA_2 * v + (1.0 - BETA_2) * gradient**2
            adam = m / (1.0 - BETA_1**step) / ((v / (1.0 - BETA_2**step)).sqrt_() + STABLE)
            point = search.project(point + self.lr * width * adam)
            point, m, v = search.drop_broken(oracle.logits(point), point, m, v)
            if not len(search):
                break
        search.settle(point)
        return search.found
