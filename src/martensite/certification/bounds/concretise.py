"""The least value of a linear function over a ball cut by the box: where a bound in terms of the input becomes a number.

Minimise a (x + d) over |d|_p <= eps and low <= x + d <= high. Let c be the room of each entry in the direction that lowers a d;
what is gained is the sum of |a_i| t_i with 0 <= t_i <= c_i, and by weak duality, for any price lambda >= 0, at most

    Linf:  sum |a| c                                                              (exact: c <= eps says it all)
    L2:    sum max_t (|a| t - lambda t^2 / 2) + lambda eps^2 / 2,  at t = min(|a| / lambda, c)
    L1:    sum max(|a| - lambda, 0) c + lambda eps

(Boyd and Vandenberghe 2004, "Convex optimization", sec. 5.1.3.) Any lambda gives a bound; the best one makes it exact. For L2 we
begin at |a|_2 / eps, where without the box the bound is x a - eps |a|_2, the dual norm, and with it no looser; each step then
solves for the entries not yet at their limit, as long as that lowers lambda, and ends at the exact one after finitely many. For
L1 the best lambda is the |a_i| at which the budget eps is spent when the steepest entries are moved first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.certification.bounds.rows import Rows
from martensite.core.errors import ThreatError
from martensite.threat import ThreatModel

STEPS = 6  # of the search for the L2 price; few are needed, and each is a bound


@dataclass(frozen=True, eq=False)
class Region:
    """Balls cut by the box, one a sample.

    Attributes:
        center: (B, *d) float64 clean inputs.
        low: (B, *d) lower ends of what ball and box allow each entry.
        high: (B, *d) upper ends.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        eps: (B,) float64 radii.
    """

    center: Tensor
    low: Tensor
    high: Tensor
    norm: str
    eps: Tensor

    @classmethod
    def of(cls, x: Tensor, threat: ThreatModel, eps: Tensor) -> "Region":
        """The region of a threat model, with radii (B,) of its own, rounded outward; in the precision of the radii.

        Raises:
            ThreatError: L0 balls, of which no linear bound is known that would be of use.
        """
        if threat.norm == "l0":
            raise ThreatError("the threat model is l0", "bounds are for linf, l2 and l1", "certify l0 by ablation")
        center, by_sample = x.to(eps), eps.view(-1, *[1] * (x.dim() - 1))
        infinity = torch.full_like(center, torch.inf)
        low = torch.nextafter(center - by_sample, -infinity).clamp_min(threat.box[0])
        high = torch.nextafter(center + by_sample, infinity).clamp_max(threat.box[1])
        at_rest = by_sample == 0
        return cls(center, torch.where(at_rest, center, low), torch.where(at_rest, center, high), threat.norm, eps)

    def __getitem__(self, which: Tensor) -> "Region":
        """The regions at these places."""
        return Region(self.center[which], self.low[which], self.high[which], self.norm, self.eps[which])

    def least(self, rows: Rows) -> Tensor:
        """(P,) lower bounds on a z over the region of each row's sample."""
        a = rows.a.flatten(1)
        if self.norm == "linf":
            # a middle - |a| radius takes two products where min(a low, a high) takes more.
            middle, radius = (self.low + self.high) / 2, (self.high - self.low) / 2
            return (a * rows.at(middle).flatten(1)).sum(1) - (a.abs() * rows.at(radius).flatten(1)).sum(1)
        room = torch.where(rows.a > 0, rows.at(self.center - self.low), rows.at(self.high - self.center)).flatten(1)
        gain = self._gain_l2 if self.norm == "l2" else self._gain_l1
        return (a * rows.at(self.center).flatten(1)).sum(1) - gain(a.abs(), room, self.eps[rows.owner])

    def _gain_l2(self, size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        with torch.no_grad():  # the bound holds, and by the envelope theorem has this gradient, whatever the price
            price: Tensor = size.norm(dim=1) / eps.clamp_min(1e-30)
            for _ in range(STEPS):
                full = size > price[:, None] * room
                left = (eps.square() - torch.where(full, room, 0.0).square().sum(1)).clamp_min(0.0)
                next_ = torch.where(full, 0.0, size).norm(dim=1) / left.sqrt().clamp_min(1e-300)
                price = torch.minimum(price, next_)
            step = torch.where(size > price[:, None] * room, room, size / price[:, None].clamp_min(1e-300))
            step = torch.minimum(step, room)
        gain: Tensor = (size * step - price[:, None] * step.square() / 2).sum(1)
        return gain + price * eps.square() / 2

    def _gain_l1(self, size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        with torch.no_grad():
            ranked, order = size.sort(dim=1, descending=True)
            spent = room.gather(1, order).cumsum(1) >= eps[:, None]
            first = spent.int().argmax(1, keepdim=True)
            price = torch.where(spent.any(1), ranked.gather(1, first).squeeze(1), 0.0)
        return ((size - price[:, None]).clamp_min(0.0) * room).sum(1) + price * eps
