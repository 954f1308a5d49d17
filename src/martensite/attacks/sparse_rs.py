"""Sparse-RS: random search over which pixels to change, each to a corner of the box, by scores alone.

Croce, Andriushchenko, Singh, Flammarion and Hein 2022, "Sparse-RS: a versatile framework for query-efficient sparse black-box
adversarial attacks", arXiv:2006.12834, algorithms 1 and 2 (L0), schedule of the supplement.
"""

from bisect import bisect_left
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.grid import Grid
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

# After these queries of 10,000 the share of pixels that move is alpha divided by these.
STAGES = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
DIVISORS = (1, 2, 4, 5, 6, 8, 10, 12, 15, 20)


@ATTACKS.register
class SparseRS(Attack):
    """Sparse-RS for L0; samples leave at the query that breaks them.

    Args:
        queries: Forward passes on each sample at most. The schedule stretches with it.
        alpha: Share of the changed pixels that move in the first queries.
        pixels: True, as in the paper: change all channels of a pixel (see `grid`) at once: eps / channels pixels. False, or
            where eps is less than a pixel: single features.
        loss: What to climb; None: the margin, and for a targeted goal cross-entropy, as in the paper.
    """

    kind: Literal["sparse_rs"] = "sparse_rs"
    queries: PositiveInt = 10_000
    alpha: float = Field(default=0.3, gt=0.0, le=1.0)
    pixels: bool = False
    loss: LossName | None = None

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("l0",)

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """M <- (M without A) with B, A in M and B outside, with new values on B; kept if the loss rises."""
        search, grid, size = Survivors(oracle, x, y, threat, rng), Grid.of(x), x[0].numel()
        if not self.pixels or threat.eps < grid.channels:
            grid = Grid(1, 1, size, (0, 0, 1))
        k, total, name = int(threat.eps) // grid.channels, grid.positions, self._loss(threat)
        order = rng.uniform((total,)).argsort(dim=1, stable=True)  # the first k of these positions are M
        clean, value = x.flatten(1), torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        point, (low, high) = x.clone(memory_format=torch.contiguous_format), x.new_tensor(threat.box)
        for query in range(self.queries):
            flat = point.view(-1, size)
            moves = k if not query else min(max(int(self.share(query) * k), 1), total - k or k)
            leave = _distinct(search.rng, moves, k)
            enter = k + _distinct(search.rng, moves, total - k) if query and total > k else leave
            out, into = order.gather(1, leave), order.gather(1, enter)
            old, new = grid.pixels(out).flatten(1), grid.pixels(into).flatten(1)
            before, reset = (flat.gather(1, old), flat.gather(1, new)), clean.gather(1, old)
            corner = torch.where(search.rng.sign(new.shape[1:]) > 0, high, low)
            flat.scatter_(1, old, reset).scatter_(1, new, corner)
            asked = ((reset != before[0]) | (corner != before[1])).any(1).nonzero().squeeze(1)
            if not len(asked):
                continue
            logits = oracle.logits(point[asked], search.places[asked])
            gain = ascend(name, search.y[asked], threat.goal)(logits).double()
            reached = value.clone().index_copy_(0, asked, gain)
            broken = torch.zeros_like(search.y, dtype=torch.bool).index_copy_(0, asked, search.broken(logits, asked))
            better = ((reached > value) | broken)[:, None]
            flat.scatter_(1, old, torch.where(better, reset, before[0])).scatter_(1, new, torch.where(better, corner, before[1]))
            order.scatter_(1, leave, torch.where(better, into, out)).scatter_(1, enter, torch.where(better, out, into))
            value = torch.where(better.squeeze(1), reached, value)
            point, value, clean, order = search.drop(broken, point, value, clean, order)
            if not len(search):
                break
        search.settle(point)
        return search.found

    def share(self, query: int) -> float:
        """Share of the changed pixels that move in this query."""
        return self.alpha / DIVISORS[bisect_left(STAGES, query * 10_000 // self.queries)]

    def _loss(self, threat: ThreatModel) -> str:
        return self.loss or ("margin" if threat.goal == "untargeted" else "ce")


def _distinct(rng: Streams, count: int, high: int) -> Tensor:
    """int64 (m, count) different numbers below ``high``, near to uniform: sorted draws, spread apart."""
    return rng.integers(high - count + 1, (count,)).sort(dim=1).values + torch.arange(count, device=rng.keys.device)
