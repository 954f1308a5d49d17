"""L1: the sum of absolute changes is at most eps.

Croce and Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", arXiv:2103.01208: the
projection onto the ball alone, then the box, leaves most of the budget unused, so both are projected onto at once (sec. 2.2).
"""

import torch
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Box, Eps, as_distance, columns, delta64


class L1:
    """The L1 ball."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) sum of absolute differences."""
        return as_distance(delta64(x, other).abs().sum(1), x)

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Box) -> Tensor:
        """The exact nearest point (in L2) of ball and box: see `project_l1_box`."""
        return project_l1_box(point, x, eps, box)

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """Uniform in the ball (exponential spacings with random signs, a radius of density r**(size - 1)), then projected."""
        size = x[0].numel()
        spacing = -(1.0 - rng.uniform((size,))).log_()
        share = spacing / spacing.sum(1, keepdim=True) * rng.uniform((1,)) ** (1.0 / size)
        delta = (share * rng.sign((size,))).view_as(x).to(x)
        return self.project(x + columns(eps, x) * delta, x, eps, box)

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Box, length: Eps = 0.0) -> Tensor:
        """From the largest gradient down, each feature as far as the box lets it move, until the length is spent.

        With the whole step on one feature, projection takes away from those that stand at the box's faces already what the next
        steps give back to them one by one: in many dimensions such an ascent stalls far from the optimum.
        """
        room = torch.where(gradient > 0, box[1] - point, point - box[0])
        share = (room / _positive(columns(length, point), point)).clamp(0.0, 1.0).flatten(1)  # of the step, that would fit
        order = gradient.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
        ranked = share.gather(1, order)
        left = (1.0 - (ranked.cumsum(1) - ranked)).clamp_min_(0.0)
        taken = torch.zeros_like(share).scatter_(1, order, torch.minimum(ranked, left))
        return taken.view_as(gradient) * gradient.sign()

    def diameter(self, size: int, box: Box) -> float:
        """The width of the box times the number of features."""
        return (box[1] - box[0]) * size


def project_l1_box(point: Tensor, x: Tensor, eps: Eps, box: Box) -> Tensor:
    """Nearest point to ``point`` in L2 with ``sum |z - x| <= eps`` and z in the box, exact up to rounding.

    With d = |point - x| and the room r that the box leaves in that direction, the solution is |z - x| = clamp(d - t, 0, r) for
    the t >= 0 at which the lengths sum to eps. The sum is piecewise linear and falling in t, with kinks at d - r and d: sort
    the kinks, find the piece that holds eps, solve it. O(size log size), in float64.

    Args:
        point: (n, *d), any values.
        x: (n, *d), inside the box.
        eps: float or (n,), in input units.
        box: lowest and highest valid value.
    """
    clamped = point.clamp(*box)
    budget = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
    over = delta64(x, clamped).abs().sum(1) > budget
    if not bool(over.any()):
        return clamped
    start, budget = x[over].flatten(1).double(), budget[over, None]
    delta = point[over].flatten(1).double() - start
    wanted = delta.abs()
    room = torch.where(delta > 0, box[1] - start, start - box[0])
    threshold = _threshold(wanted, torch.minimum(room, wanted), budget)
    length = torch.minimum((wanted - threshold).clamp_min_(0.0), room)
    result = clamped.clone()
    result[over] = (start + delta.sign() * length).view_as(x[over]).to(x.dtype).clamp_(*box)
    return result


def _positive(length: Eps, x: Tensor) -> Eps:
    tiny = torch.finfo(x.dtype).tiny
    return length.clamp_min(tiny) if isinstance(length, Tensor) else max(length, tiny)


def _threshold(wanted: Tensor, room: Tensor, budget: Tensor) -> Tensor:
    """The t (n, 1) at which sum(clamp(wanted - t, 0, room)) = budget."""
    # Going up in t, a feature starts to shrink at wanted - room and is gone at wanted: its slope is -1 in between.
    kinks, order = torch.cat([wanted - room, wanted], dim=1).sort(dim=1)
    turns = torch.cat([torch.ones_like(wanted), -torch.ones_like(wanted)], dim=1).gather(1, order)
    shrinking = turns.cumsum(1)  # features that shrink just after each kink
    drop = (kinks.diff(dim=1) * shrinking[:, :-1]).cumsum(1)
    total = room.sum(1, keepdim=True) - torch.cat([torch.zeros_like(budget), drop], dim=1)  # the sum at each kink
    piece = ((total >= budget).sum(1, keepdim=True) - 1).clamp_min_(0)
    excess = total.gather(1, piece) - budget
    return kinks.gather(1, piece) + excess / shrinking.gather(1, piece).clamp_min_(1.0)
