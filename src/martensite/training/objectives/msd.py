"""Multi steepest descent: one ascent that takes, at each step, the best of several norms' steepest steps.

Maini, Wong and Kolter 2020, "Adversarial robustness against the union of multiple perturbation models", arXiv:1909.04068,
algorithm 1. It is bounded by a union of balls, which is no threat model, so it is no member of the registry of attacks.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from martensite.attacks import Attack, Oracle
from martensite.attacks.losses import ascend
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.training.objectives.admissible import admissible


class MSD(Attack):
    """Steepest ascent in the union of balls around one input.

    Args:
        balls: Threat models of one box and goal.
        steps: Gradient steps; each costs a forward pass more for every ball.
    """

    kind: Literal["msd"] = "msd"
    balls: tuple[ThreatModel, ...]
    steps: PositiveInt = 10

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    @property
    def passes(self) -> tuple[int, int]:
        """See `Attack.passes`."""
        return self.steps * (1 + len(self.balls)), self.steps

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' <- the worst of project_p(x' + step_p * steepest_p(grad loss(x'))) over the norms p.

        Constraints are kept in the ball that a point is in: who repairs it afterwards knows of the first ball alone.
        """
        loss, point, found = ascend("ce", y, threat.goal), x, x
        for _ in range(self.steps):
            _, gradient = oracle.gradient(point, loss)
            candidates = [self._stepped(ball, point, gradient, x) for ball in self.balls]
            seen = [admissible(ball, candidate, x) for ball, candidate in zip(self.balls, candidates, strict=True)]
            values = [loss(oracle.logits(each)) for each in seen]
            point, found = worst(candidates, values), worst(seen, values)
        return found

    def _stepped(self, ball: ThreatModel, point: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
        length = 2.5 * ball.eps / self.steps
        return ball.project(point + length * ball.steepest_step(gradient, point, length), x)


def worst(candidates: list[Tensor], values: list[Tensor]) -> Tensor:
    """(n, *d) for each sample the candidate with the largest value (n,)."""
    best = torch.stack(values).argmax(0)
    return torch.stack(candidates)[best, torch.arange(len(best), device=best.device)]
