"""UAP: one perturbation for all inputs, by gradient ascent on their common loss.

Shafahi, Najibi, Xu, Dickerson, Davis and Goldstein 2020, "Universal adversarial training", arXiv:1811.11304, sec. 3, algorithm 1
and eq. 3 (the clipped loss). The idea is Moosavi-Dezfooli et al. 2017, arXiv:1610.08401.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class UAP(Attack):
    """A universal perturbation: clip(x + delta), with one delta for the batch that the attack is given.

    The engine hands it the samples in batches, and each batch gets a delta of its own: run it with ``batch_size=len(x)`` for one
    that is universal to all of them. A sample broken on the way stays, since it may be saved again.

    Args:
        epochs: Passes over the batch.
        minibatch: Samples a step, shuffled in each epoch.
        step_size: In input units; None: 2.5 * eps / (number of steps).
        cap: No sample's loss counts for more, so that those already lost don't outweigh the others. The target's loss, which a
            targeted goal lowers, needs none.
        loss: What to climb.
    """

    kind: Literal["uap"] = "uap"
    epochs: PositiveInt = 20
    minibatch: PositiveInt = 100
    step_size: PositiveFloat | None = None
    cap: PositiveFloat = 9.0
    loss: LossName = "ce"

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """delta <- project(delta + step_size * steepest(sum over the minibatch of grad min(loss, cap)))."""
        low, high = threat.box
        within = (low - high, high - low)  # the box of differences
        steps = self.epochs * math.ceil(len(x) / self.minibatch)
        step = 2.5 * threat.eps / steps if self.step_size is None else self.step_size
        zero = torch.zeros_like(x[:1])
        delta = zero
        for _ in range(self.epochs):
            order = rng.uniform((1,)).squeeze(1).argsort()
            for start in range(0, len(x), self.minibatch):
                rows = order[start : start + self.minibatch]
                gradient = self._gradient(oracle, delta, x[rows], y[rows], rows, threat)
                moved = delta + step * threat.ball.steepest_step(gradient, delta, within, step)
                delta = threat.ball.project(moved, zero, threat.eps, within)
            oracle.found = threat.project(x + delta, x)
        return threat.project(x + delta, x)

    def _gradient(self, oracle: Oracle, delta: Tensor, x: Tensor, y: Tensor, rows: Tensor, threat: ThreatModel) -> Tensor:
        """(1, *d) summed over samples, zero where the box holds a feature back."""
        climbed = ascend(self.loss, y, threat.goal)
        each = delta.expand_as(x)
        _, gradient = oracle.gradient(each, lambda z: climbed(z).clamp_max(self.cap), rows, lambda d: (x + d).clamp(*threat.box))
        return gradient.sum(0, keepdim=True)
