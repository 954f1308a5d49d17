"""L1: the sum of absolute changes is at most eps.

Croce and Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", arXiv:2103.01208: the
projection onto the ball alone, then the box, leaves most of the budget unused, so both are projected onto at once (sec. 2.2).
"""

import torch
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Bounds, Box, Eps, as_distance, columns, delta64

ROUNDS = 100  # of the projection's search; about ten are needed


class L1:
    """The L1 ball."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) sum of absolute differences."""
        return as_distance(delta64(x, other).abs().sum(1), x)

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
        """The exact nearest point (in L2) of ball and box: see `project_l1_box`."""
        return project_l1_box(point, x, eps, box)

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """Uniform in the ball (exponential spacings with random signs, a radius of density r**(size - 1)), then projected."""
        size = x[0].numel()
        spacing = -(1.0 - rng.uniform((size,))).log_()
        share = spacing / spacing.sum(1, keepdim=True) * rng.uniform((1,)) ** (1.0 / size)
        delta = (share * rng.sign((size,))).view_as(x).to(x)
        return self.project(x + columns(eps, x) * delta, x, eps, box)

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Bounds, length: Eps = 0.0) -> Tensor:
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


def project_l1_box(point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
    """Nearest point to ``point`` in L2 with ``sum |z - x| <= eps`` and z in the box, exact up to rounding.

    With d = |point - x| and the room r that the box leaves in that direction, the solution is |z - x| = clamp(d - t, 0, r) for
    the t >= 0 at which the lengths sum to eps. The sum is piecewise linear and falling in t. Ten rounds or so, each of them
    linear in the size, find t faster than sorting the kinks does (one core, a hundred inputs of 784 features: 2 ms against 8).
    In float64.

    Args:
        point: (n, *d), any values.
        x: (n, *d), inside the box.
        eps: float or (n,), in input units.
        box: lowest and highest valid value, of all features or (n, *d) of each.
    """
    clamped = point.clamp(*box)
    budget = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
    over = delta64(x, clamped).abs().sum(1) > budget
    if not bool(over.any()):
        return clamped
    start, budget = x[over].flatten(1).double(), budget[over, None]
    delta = point[over].flatten(1).double() - start
    wanted = delta.abs()
    low, high = (bound[over].flatten(1) if isinstance(bound, Tensor) else bound for bound in box)
    room = torch.where(delta > 0, high - start, start - low)
    threshold = _threshold(wanted, torch.minimum(room, wanted), budget)
    length = torch.minimum((wanted - threshold).clamp_min_(0.0), room)
    result = clamped.clone()
    result[over] = (start + delta.sign() * length).view_as(x[over]).to(x.dtype)
    return result.clamp_(*box)


def _positive(length: Eps, x: Tensor) -> Eps:
    tiny = torch.finfo(x.dtype).tiny
    return length.clamp_min(tiny) if isinstance(length, Tensor) else max(length, tiny)


def _threshold(wanted: Tensor, room: Tensor, budget: Tensor) -> Tensor:
    """The t (n, 1) at which sum(clamp(wanted - t, 0, room)) = budget: Newton's method on the pieces, bisection where it leaves
    the interval that holds t."""
    low, high = torch.zeros_like(budget), wanted.amax(1, keepdim=True)
    rounding = 4.0 * torch.finfo(wanted.dtype).eps * (budget + wanted.shape[1] * high)
    t = low
    for _ in range(ROUNDS):
        left = wanted - t
        excess = torch.minimum(left.clamp_min(0.0), room).sum(1, keepdim=True) - budget
        exact = excess.abs() <= rounding
        if bool(exact.all()):
            break
        low, high = torch.where(excess > 0, t, low), torch.where(excess > 0, high, t)
        shrinking = ((left > 0) & (left <= room)).sum(1, keepdim=True)  # features that shrink as t grows
        newton = t + excess / shrinking.clamp_min(1)
        inside = (newton > low) & (newton < high) & (shrinking > 0)
        t = torch.where(exact, t, torch.where(inside, newton, (low + high) / 2.0))
    return t
