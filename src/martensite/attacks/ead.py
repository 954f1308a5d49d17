"""EAD: CW's loss with an elastic-net penalty, minimised by iterative shrinkage and thresholding with momentum.

Chen, Sharma, Zhang, Yi and Hsieh 2018, "EAD: elastic-net attacks to deep neural networks via adversarial examples",
arXiv:1709.04114, algorithm 1, with the L1 decision rule.

Two things follow the problem, where the paper's constants fit one data set. The first constant is three times that at which the
first step would move a feature at all. And a descent goes on from the nearest adversarial so far, with half the constant, instead
of the clean input: on a PGD-trained MNIST network that took a third fewer passes and left the median a tenth shorter.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.descent import LARGEST, Constant, Patience, hinge
from martensite.attacks.linear import length
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

FIRST, LEAST_BETA, FLAT = 3.0, 1e-3, 1e-3  # see above; a beta of 0 has no threshold; where the model has no slope


@ATTACKS.register
class EAD(Attack):
    """Elastic-net attack; of all adversarials on the way it returns the one that is nearest in L1.

    Args:
        steps: Gradient steps a search step.
        search_steps: Constants c that are tried for each sample.
        lr: Step size, which falls with the square root of the steps that are left.
        beta: Weight of the L1 penalty, in widths of the box: what is shorter after a step is cut to zero.
        c: First constant, in squared widths of the box a logit; None: see above.
        abort_early: A sample whose loss fell by less than 0.01 % in a tenth of the steps sits out the rest of the search step.
        search: Forward passes of each of three searches at the end: along the line to the clean input, towards the nearest point
            of the boundary's tangent plane (the elastic net's optimum is not the L1 norm's), along the line again. 0: none, as
            in the paper.
    """

    kind: Literal["ead"] = "ead"
    steps: PositiveInt = 1000
    search_steps: PositiveInt = 9
    lr: PositiveFloat = 0.01
    beta: NonNegativeFloat = 0.01
    c: PositiveFloat | None = None
    abort_early: bool = True
    search: NonNegativeInt = 5

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("l1",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """min c f(x + delta) + |delta|_2^2 + beta |delta|_1."""
        nearest = Nearest(oracle, x, y, threat)
        constant = Constant(self._first_constant(oracle, x, y, threat))
        for _ in range(self.search_steps):
            constant.update(self._descend(oracle, nearest, x, y, threat, constant.c))
        nearest.approach(self.search)
        nearest.turn(self.search)
        nearest.approach(self.search)
        return nearest.point

    def _first_constant(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """(n,): a step of lr c |g_i| is cut to zero if it is shorter than beta."""
        if self.c is not None:
            return x.new_full((len(x),), self.c)
        _, gradient = oracle.gradient(x, hinge(y, x.new_ones(len(x)), threat.goal))
        steepest = length(gradient, "linf") * (threat.box[1] - threat.box[0])
        c = FIRST * max(self.beta, LEAST_BETA) / (self.lr * steepest.clamp_min(torch.finfo(x.dtype).tiny))
        return torch.where(steepest > 0, c, FLAT).clamp_max(LARGEST)

    def _descend(self, oracle: Oracle, nearest: Nearest, x: Tensor, y: Tensor, threat: ThreatModel, c: Tensor) -> Tensor:
        """One search step. Returns (n,) bool: an adversarial was met."""
        width = threat.box[1] - threat.box[0]
        rows, found = torch.arange(len(x), device=x.device), torch.zeros_like(c, dtype=torch.bool)
        patience = Patience(self.steps if self.abort_early else 0, c)
        point = ahead = nearest.point.clone()
        for k in range(self.steps):
            loss = hinge(y, c, threat.goal)
            logits, gradient = oracle.gradient(ahead, loss, rows)
            found[rows] |= nearest.note(ahead, logits, rows)
            delta = (ahead - x) / width
            flat = delta.flatten(1)
            stay = patience.leave(k, loss(logits) + flat.square().sum(1) + self.beta * flat.abs().sum(1))
            if stay is not None:
                rows, x, y, c, point, delta, gradient = (part[stay] for part in (rows, x, y, c, point, delta, gradient))
                if not len(rows):
                    break
            lr = self.lr * (1.0 - k / self.steps) ** 0.5
            z = delta - lr * (2.0 * delta + width * gradient)
            shrunk = z.sign() * (z.abs() - self.beta).clamp_min(0.0)
            before, point = point, (x + width * shrunk).clamp_(*threat.box)
            ahead = (point + k / (k + 3.0) * (point - before)).clamp_(*threat.box)
        return found
