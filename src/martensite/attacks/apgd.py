"""APGD: projected ascent that chooses its own step size, with momentum and returns to the best point.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
arXiv:2003.01690, sec. 3 and algorithm 1. For L1 see `apgd_l1`.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.apgd_l1 import climb_l1
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import Loss, LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

MOMENTUM = 0.75  # weight of the new step against the last one, alpha in the paper


@ATTACKS.register
class APGD(Attack):
    """Auto-PGD; no parameter needs tuning.

    Args:
        steps: Gradient steps a restart.
        restarts: Independent random starts for the samples that withstand.
        loss: What is climbed: the paper's ``"ce"``, its ``"dlr"``, the difference of logits ratio (below four classes the log
            odds: see `losses.dlr`), or another of `losses`, one of your own included.
        rho: A step size is halved if fewer than this share of the last steps raised the loss.
    """

    kind: Literal["apgd"] = "apgd"
    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    loss: LossName = "ce"
    rho: float = Field(default=0.75, gt=0.0, lt=1.0)

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")
    stepwise: ClassVar[bool] = True

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Climb from a random start; what withstands starts anew."""
        search = Survivors(oracle, x, y, threat, rng)
        for _ in range(self.restarts):
            if len(search):
                climb(oracle, search, lambda: ascend(self.loss, search.y, threat.goal), threat, self.steps, self.rho)
        return search.found


def climb(oracle: Oracle, search: Survivors, loss: Callable[[], Loss], threat: ThreatModel, steps: int, rho: float) -> None:
    """One restart for the survivors of a search.

    Args:
        oracle: The model.
        search: Who is still to be broken; gets the best points.
        loss: Makes the loss of the present survivors.
        threat: Ball and box.
        steps: Gradient steps.
        rho: See `APGD`.
    """
    if threat.norm == "l1":
        climb_l1(oracle, search, loss, threat, steps)
        return
    point = surface_start(threat, search.x, search.rng)
    logits, gradient = oracle.gradient(point, loss())
    value = loss()(logits)
    never = torch.zeros_like(value, dtype=torch.bool)
    step = point.new_full(value.shape, 2.0 * threat.eps)  # in the input's precision, whatever the logits' is
    at = _Climb(point, gradient, value, point, step, point, gradient, value, value, never, 0 * value)
    at = _Climb(*search.drop_broken(logits, *at))
    period, since = max(int(0.22 * steps), 1), 0
    for iteration in range(steps):
        if not len(search):
            return
        point = _move(at, search, threat, MOMENTUM if iteration else 1.0)
        if iteration + 1 < steps:
            logits, gradient = oracle.gradient(point, loss())
        else:
            logits, gradient = oracle.logits(point), at.gradient
        at = _Climb(*search.drop_broken(logits, *_note(at, point, gradient, loss()(logits))))
        since += 1
        if since == period:
            at, since = _adapt(at, rho * period), 0
            period = max(period - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    search.settle(at.best)


class _Climb(NamedTuple):
    """Where each survivor stands, (m, ...) each: what has to travel with it when others leave."""

    point: Tensor
    gradient: Tensor
    value: Tensor
    previous: Tensor
    step: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    noted: Tensor  # best value at the last checkpoint
    halved: Tensor  # whether the step size was halved there
    rises: Tensor  # steps since then that raised the loss


def _move(at: _Climb, search: Survivors, threat: ThreatModel, weight: float) -> Tensor:
    """Algorithm 1, lines 7 and 8: a projected step, then momentum."""
    direction = threat.steepest_step(at.gradient, at.point)
    target = search.project(torch.addcmul(at.point, as_column(at.step, direction), direction))
    if weight == 1.0:
        return target
    return search.project(torch.lerp(at.point, target, weight).add_(at.point - at.previous, alpha=1.0 - weight))


def _note(at: _Climb, point: Tensor, gradient: Tensor, value: Tensor) -> _Climb:
    """Arrive at a point."""
    better = value > at.best_value
    return at._replace(
        point=point,
        gradient=gradient,
        value=value,
        previous=at.point,
        best=_where(better, point, at.best),
        best_gradient=_where(better, gradient, at.best_gradient),
        best_value=torch.where(better, value, at.best_value),
        rises=at.rises + (value > at.value),
    )


def _adapt(at: _Climb, least: float) -> _Climb:
    """Lines 11 to 14: halve the step and go back to the best point after too few rises, or if nothing got better at that step."""
    halve = (at.rises <= least) | (~at.halved & (at.noted >= at.best_value))
    return at._replace(
        point=_where(halve, at.best, at.point),
        gradient=_where(halve, at.best_gradient, at.gradient),
        value=torch.where(halve, at.best_value, at.value),
        step=torch.where(halve, at.step / 2.0, at.step),
        noted=at.best_value,
        halved=halve,
        rises=torch.zeros_like(at.rises),
    )


def surface_start(threat: ThreatModel, x: Tensor, rng: Streams) -> Tensor:
    """A random point on the ball's surface, cut by the box."""
    noise = rng.uniform(x.shape[1:], -1.0, 1.0) if threat.norm == "linf" else rng.normal(x.shape[1:])
    noise = noise.to(x)
    length = noise.flatten(1).abs().amax(1) if threat.norm == "linf" else noise.flatten(1).norm(dim=1)
    return threat.project(x + noise * as_column(threat.eps / length, x), x)


def as_column(values: Tensor, x: Tensor) -> Tensor:
    """(n,) shaped to broadcast over (n, *d)."""
    return values.view(-1, *[1] * (x.dim() - 1))


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(as_column(mask, yes), yes, no)
