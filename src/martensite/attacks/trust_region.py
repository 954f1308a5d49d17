"""Steps along a decision boundary: the point of its tangent plane nearest to the clean input, inside a trust region and the box.

Brendel, Rauber, Kuemmerer, Ustyuzhaninov and Bethge 2019, "Accurate, reliable and fast robustness evaluation", arXiv:1907.01003,
eq. 1: with u the present perturbation and v the next,

    min |v|_p   where   b . v = b . u + c,   |v - u|_2 <= r,   x + v in the box.

The paper climbs each norm's dual for one sample at a time. Here the optimality conditions are read as two nested searches along
monotone functions, which a whole batch shares: v = clamp(shrink(u + kappa b)) with the norm's proximal map, where kappa puts v on
the plane, and the norm weighs as much against the distance from u as the trust region allows.
"""

import torch
from torch import Tensor

from martensite.attacks.linear import length, step_to_plane
from martensite.threat import Norm
from martensite.threat.ball import Box

ROUNDS, PLANE_ROUNDS = 20, 50  # at most, of the search for the weight and of that for kappa inside it; three to six are usual
CLOSE, GAP = 0.02, 1e-4  # shares of the radius that may be left unused, and of the distance that may be left to gain
GROWTH = (2.0, 50.0)  # least and greatest factor by which a weight without an upper bound rises
ON_PLANE, ROUNDING = 1e-3, 8.0  # shares of the height by which the plane may be missed; or units in the last place, if more


def step_along(x: Tensor, point: Tensor, b: Tensor, c: Tensor, radius: Tensor, norm: Norm, box: Box) -> Tensor:
    """The step (n, *d) from ``point`` to the nearest point to x of the plane, within trust region and box.

    Where the plane is out of reach, it is the step that comes closest to it. L0 is not convex: there the step is one that changes
    few features, not always the fewest.

    Args:
        x: (n, *d) clean inputs in the box.
        point: (n, *d) where to step from, in the box.
        b: (n, *d) normal of the plane b . step = c.
        c: (n,) height to gain.
        radius: (n,) greatest L2 length of the step.
        norm: What to measure the distance from x in.
        box: Lowest and highest valid value.
    """
    size = length(b, "l2").clamp_min(torch.finfo(b.dtype).tiny)
    b, c, clean, start = b.flatten(1) / size[:, None], c / size, x.flatten(1), point.flatten(1)
    u = start - clean
    near = step_to_plane(start, b, c, "l2", box)  # the shortest step
    far = step_to_plane(clean, b, c + (b * u).sum(1), norm, box) - u  # the best one, were there no trust region
    fine = ROUNDING * torch.finfo(b.dtype).eps * b.shape[1] ** 0.5
    slack = torch.maximum(ON_PLANE * c.abs(), fine * (length(u, "l2") + c.abs()))
    within = (((b * near).sum(1) - c).abs() <= slack) & (length(near, "l2") <= radius)
    free = within & (length(far, "l2") <= radius)
    step = torch.where(free[:, None], far, near)
    if bool((~within).any()):
        step = torch.where(within[:, None], step, _towards(start, b, c, radius, box))
    if bool((bound := within & ~free).any()):
        room = (box[0] - clean[bound], box[1] - clean[bound])
        search = _Compromise(norm, u[bound], b[bound], c[bound], slack[bound], room, near[bound], far[bound])
        step[bound] = search.farthest(radius[bound])
    return step.view_as(point)


def _towards(start: Tensor, b: Tensor, c: Tensor, radius: Tensor, box: Box) -> Tensor:
    """The step in trust region and box that gains most along b, by fixing features as in `step_to_plane`."""
    direction, gain = (b * c[:, None]).sign(), b.abs()
    room = torch.maximum(direction * (box[1] - start), direction * (box[0] - start))
    square, most, fixed, largest = gain.square(), room.square(), torch.zeros_like(b), torch.finfo(b.dtype).max
    while True:
        left = (radius.square()[:, None] - (most * fixed).sum(1, keepdim=True)).clamp_min(0.0)
        free = (square * (1.0 - fixed)).sum(1, keepdim=True)
        move = (left / free.clamp_min(torch.finfo(b.dtype).tiny)).clamp_max(largest).sqrt() * gain
        hit = torch.maximum((move - room).clamp_min_(0.0).sign_(), fixed)
        if torch.equal(hit, fixed):
            return torch.minimum(move, room) * direction
        fixed = hit


class _Compromise:
    """Between the shortest step and the best one: as far as the trust region goes, for rows (m, size) that it binds."""

    def __init__(
        self, norm: Norm, u: Tensor, b: Tensor, c: Tensor, slack: Tensor, room: tuple[Tensor, Tensor], near: Tensor, far: Tensor
    ) -> None:
        self._norm, self._u, self._b, self._near, self._far = norm, u, b, near, far
        self._low, self._high = room
        self._height = c[:, None] + (b * u).sum(1, keepdim=True)
        self._slack, self._square = slack[:, None], b.square()
        self._ends = self._length(near), self._length(far)  # of the distance

    def farthest(self, radius: Tensor) -> Tensor:
        """(m, size) the step: regula falsi on the weight, or bisection where the last round did not halve the interval."""
        r = radius[:, None]
        aim = (1.0 - CLOSE / 2.0) * r  # not the radius itself: a hair beyond it would be of no use
        unbounded, smooth = self._norm in ("l1", "l0"), self._norm != "l0"
        inner, outer = torch.zeros_like(r), torch.full_like(r, torch.inf if unbounded else 1.0)
        short, excess = (length(self._near, "l2")[:, None] - aim).clamp_max(0.0), length(self._far, "l2")[:, None] - aim
        step, (best, bound), kappa = self._near, self._ends, torch.zeros_like(r)
        halved, done = torch.full_like(r, smooth, dtype=torch.bool), torch.zeros_like(r, dtype=torch.bool)
        for _ in range(ROUNDS):
            weight = torch.where(halved, (inner * excess - outer * short) / (excess - short), (inner + outer) / 2.0)
            if unbounded:
                first = torch.where(inner > 0, inner * (aim / (aim + short)).clamp(*GROWTH), r / self._b.shape[1] ** 0.5)
                weight = torch.where(outer.isinf(), first, weight)
            trial, found, on_plane = self._at(weight, kappa if not unbounded else kappa * weight)
            over = length(trial, "l2")[:, None] - aim
            fits = on_plane & (over <= CLOSE / 2.0 * r)
            taken = fits & ~done  # a row that is done waits for the others, or the result would depend on who they are
            step, kappa = torch.where(taken, trial, step), torch.where(taken, found / weight if unbounded else found, kappa)
            distance, before = self._length(trial), outer - inner
            best, bound = torch.where(fits, distance, best), torch.where(fits, bound, torch.maximum(distance, bound))
            short, excess = torch.where(fits, over.clamp_max(0.0), short), torch.where(fits, excess, over.where(on_plane, excess))
            inner, outer = torch.where(fits, weight, inner), torch.where(fits, outer, weight)
            halved = (outer - inner < 0.6 * before) & smooth
            done |= (fits & (over.abs() <= CLOSE / 2.0 * r)) | (outer - inner <= CLOSE * inner)
            if smooth:
                done |= best - bound <= GAP * bound
            if bool(done.all()):
                break
        return step

    def _at(self, weight: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step (m, size) for a weight (m, 1), its kappa (m, 1), and whether it is on the plane (m, 1).

        Kappa by Newton's method on a function of straight pieces, by bisection where that leaves the interval that holds it.
        """
        u, b, low, high, slack = self._u, self._b, self._low, self._high, self._slack
        share = 1.0 - weight if self._norm == "l2" else torch.ones_like(weight)
        if self._norm == "linf":
            most = torch.lerp(*self._ends, weight)
            low, high = torch.maximum(low, -most), torch.minimum(high, most)
        elif self._norm == "l1":
            slack = torch.maximum(slack, ROUNDING * torch.finfo(b.dtype).eps * weight)
        elif self._norm == "l0":
            q = torch.addcmul(u, kappa, b)
            pays = (q.square() - (q - self._clamp(q, low, high)).square_() - weight.square()).clamp_min_(0.0).sign_()
            low, high = low * pays, high * pays
        reach = b * low, b * high
        lost = torch.maximum(*reach).sum(1, keepdim=True) < self._height
        lost |= torch.minimum(*reach).sum(1, keepdim=True) > self._height
        least, most = torch.full_like(weight, -torch.inf), torch.full_like(weight, torch.inf)
        stride = torch.zeros_like(weight)
        for _ in range(PLANE_ROUNDS):
            q = torch.addcmul(u, kappa, b)
            if self._norm == "l2":
                q *= share
            elif self._norm == "l1":
                q -= self._clamp(q, -weight, weight)
            v = self._clamp(q, low, high)
            miss = (b * v).sum(1, keepdim=True) - self._height
            done = (miss.abs() <= slack) | lost
            if bool(done.all()):
                break
            moving = 1.0 - (q - v).abs_().sign_()
            if self._norm == "l1":
                moving *= q.abs_().sign_()  # what the threshold keeps at zero
            elif self._norm == "l0":
                moving *= pays
            rise = (self._square * moving).sum(1, keepdim=True) * share
            least, most = torch.where(miss < 0, kappa, least), torch.where(miss < 0, most, kappa)
            newton = kappa - miss / rise
            stride = torch.maximum(2.0 * stride, miss.abs())
            inside = (newton > least) & (newton < most)
            if not bool((inside | done).all()):
                middle = (least + most) / 2.0
                wide = torch.where(miss < 0, kappa + stride, kappa - stride)
                newton = torch.where(inside, newton, torch.where(middle.isfinite(), middle, wide))
            kappa = torch.where(done, kappa, newton)
        return v - u, kappa, done & ~lost

    def _length(self, step: Tensor) -> Tensor:
        """(m, 1) distance from the clean input after a step (m, size)."""
        return length(self._u + step, self._norm)[:, None]

    @staticmethod
    def _clamp(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(q, low), high)
