"""NES: projected steps along gradients estimated by natural evolution strategies.

Ilyas, Engstrom, Athalye and Lin 2018, "Black-box adversarial attacks with limited queries and information", arXiv:1804.08598,
sec. 2.1 and algorithm 1 (the query-limited setting); momentum and falling step size as in the authors' code.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.estimate import estimate
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns

PLATEAU = 5  # a step size is halved if the loss is lower than so many steps, counted from the first, before
LEAST = 200.0  # and never below the first one divided by this


@ATTACKS.register
class NES(Attack):
    """Natural evolution strategies.

    Args:
        queries: Forward passes on each sample at most; a step takes ``samples`` and one.
        samples: Points a step that the gradient is estimated from, half of them mirrored; rounded down to an even number.
        sigma: Their standard deviation, in widths of the box.
        step_size: Of the first step, in input units; None: eps / 5, the paper's 0.01 at its eps of 0.05.
        momentum: Weight of the former direction against the new estimate.
        loss: What to climb.
    """

    kind: Literal["nes"] = "nes"
    queries: PositiveInt = 10_000
    samples: int = Field(default=50, ge=2)
    sigma: PositiveFloat = 0.001
    step_size: PositiveFloat | None = None
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    loss: LossName = "ce"

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' <- project(x' + step * steepest(g)), g the mean of J(x' + sigma u) u / sigma over Gaussian u and -u."""
        search, pairs = Survivors(oracle, x, y, threat, rng), self.samples // 2
        sigma = self.sigma * (threat.box[1] - threat.box[0])
        first = threat.eps / 5.0 if self.step_size is None else self.step_size
        point, direction, step = x, torch.zeros_like(x), torch.full((len(x),), first, dtype=x.dtype, device=x.device)
        past = torch.full((len(x), PLATEAU), torch.nan, dtype=torch.float64, device=x.device)
        for _ in range(self.queries // (2 * pairs + 1)):
            gradient, level = estimate(
                oracle, point, lambda times: ascend(self.loss, search.y.repeat(times), threat.goal),
                lambda count: search.rng.normal((count, *x.shape[1:])), pairs, sigma, threat.box,
            )  # fmt: skip
            direction = self.momentum * direction + (1.0 - self.momentum) * gradient
            past = torch.cat([past[:, 1:], level[:, None]], dim=1)
            stalled = past[:, -1] < past[:, 0]  # false as long as there is no first one
            step = torch.where(stalled, (step / 2.0).clamp_min(first / LEAST), step)
            past[stalled] = torch.nan
            point = search.project(point + columns(step, x) * threat.steepest_step(direction, point))
            point, direction, step, past = search.drop_broken(oracle.logits(point), point, direction, step, past)
            if not len(search):
                break
        search.settle(point)
        return search.found
