"""APGD for L1: sparse steps whose sparsity follows the best point found, in a ball that shrinks to eps.

Croce and Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", arXiv:2103.01208, algorithm 1
(sparsity and step size) and sec. 3.3 (three phases at 3, 2 and 1 times eps).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from martensite.attacks.losses import Loss
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.threat import ThreatModel
from martensite.threat.ball import Box

PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # multiple of eps, share of the steps
SHRINK, LEAST = 1.5, 10.0  # a step size falls by the one, and never under its start divided by the other
FEWER = 0.95  # the best point counts as sparser below this share of its former features


def climb_l1(oracle: Oracle, search: Survivors, loss: Callable[[], Loss], threat: ThreatModel, steps: int) -> None:
    """One restart for the survivors of a search; arguments as in `apgd.climb`."""
    diameter = threat.ball.diameter(search.x[0].numel(), threat.box)
    start = threat.project(search.x + search.rng.normal(search.x.shape[1:]).to(search.x), search.x)
    for number, (multiple, share) in enumerate(PHASES):
        wide = threat.at(min(multiple * threat.eps, diameter))
        last = number + 1 == len(PHASES)
        start = threat.project(start, search.x) if last else wide.project(start, search.x)
        count = steps - sum(int(part * steps) for _, part in PHASES[:-1]) if last else int(share * steps)
        start = _phase(oracle, search, loss, threat if last else wide, count, start, final=last)
        if not len(search):
            return
    search.settle(start)


def _phase(
    oracle: Oracle, search: Survivors, loss: Callable[[], Loss], threat: ThreatModel, steps: int, point: Tensor, final: bool
) -> Tensor:
    """Climb in a ball of one size; only in the final one is a success a success. Returns the best points (m, *d)."""
    size = point[0].numel()
    logits, gradient = oracle.gradient(point, loss())
    value = loss()(logits)
    step = point.new_full(value.shape, threat.eps)  # in the input's precision, whatever the logits' is
    best, best_gradient, best_value = point, gradient, value
    changed = point.new_full(value.shape, float(size))
    share = point.new_full(value.shape, 0.2) if not final else _features(point, search.x) / size / SHRINK
    period = max(int(0.04 * steps), 1)
    for iteration in range(steps + 1):
        if final:
            point, gradient, value, step, best, best_gradient, best_value, changed, share = search.drop_broken(
                logits, point, gradient, value, step, best, best_gradient, best_value, changed, share
            )
        if iteration == steps or not len(search):
            break
        if iteration and iteration % period == 0:
            now = _features(best, search.x)
            sparser = now < FEWER * changed
            share = now / size / SHRINK
            step = torch.where(sparser, threat.eps, step / SHRINK).clamp(threat.eps / LEAST, threat.eps)
            changed, column = now, sparser.view(-1, *[1] * (point.dim() - 1))
            point, gradient = torch.where(column, best, point), torch.where(column, best_gradient, gradient)
        point = threat.project(
            point + sparse_step(gradient, share, point, threat.box) * step.view(-1, *[1] * (point.dim() - 1)), search.x
        )
        logits, gradient = oracle.gradient(point, loss())
        value = loss()(logits)
        better = value > best_value
        column = better.view(-1, *[1] * (point.dim() - 1))
        best, best_gradient = torch.where(column, point, best), torch.where(column, gradient, best_gradient)
        best_value = torch.where(better, value, best_value)
    return best


def sparse_step(gradient: Tensor, share: Tensor, point: Tensor, box: Box) -> Tensor:
    """Signs of the given share (n,) of each gradient's largest entries, scaled to unit L1 length.

    Features that stand at the face of the box which the gradient points to are passed over: they can't move, and those next in
    size would wait in vain (on a linear model of ten features the optimum was missed by a third).
    """
    size = gradient[0].numel()
    stuck = torch.where(gradient > 0, point >= box[1], point <= box[0])
    magnitude = gradient.abs().masked_fill(stuck, 0.0).flatten(1)
    place = size - (share * size).round().long().clamp(1, size)  # rounded up, two features would never become one
    threshold = magnitude.sort(1).values.gather(1, place[:, None])
    signs = gradient.flatten(1).sign() * ((magnitude >= threshold) & (magnitude > 0.0))
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1.0)).view_as(gradient)


def _features(point: Tensor, x: Tensor) -> Tensor:
    """(n,) how many features differ."""
    return (point != x).flatten(1).sum(1).to(x.dtype)
