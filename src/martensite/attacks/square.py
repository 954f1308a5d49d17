"""Square: random search over squares at the ball's corners, by scores alone.

Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a query-efficient black-box adversarial attack via random
search", arXiv:1912.00049, algorithms 1 and 2 (Linf); for L2 and L1 see `square_lp`. What a square is in inputs other than images,
`grid` says.
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
from martensite.attacks.square_lp import Schedule, climb_lp
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

# The share of positions in a square is halved after each of these queries of 10,000 (sec. 5, "Implementation details").
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
BLOCK = 32  # queries whose random draws are made at once


@ATTACKS.register
class Square(Attack):
    """The Square attack; samples leave at the query that breaks them.

    Args:
        queries: Forward passes on each sample at most, the first included. The schedule of sizes stretches with it.
        p: Share of the positions in the first squares.
        loss: What to climb; None: the margin, and for a targeted goal cross-entropy, as in the paper.
    """

    kind: Literal["square"] = "square"
    queries: PositiveInt = 5000
    p: float = Field(default=0.8, gt=0.0, le=1.0)
    loss: LossName | None = None

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Put a random square somewhere; keep it if the loss rises."""
        search = Survivors(oracle, x, y, threat, rng)
        loss = self.loss or ("margin" if threat.goal == "untargeted" else "ce")
        (climb_linf if threat.norm == "linf" else climb_lp)(oracle, search, threat, loss, self.queries, self.share)
        return search.found

    def share(self, query: int) -> float:
        """Share of the positions that the square of this query (1, 2, ...) covers."""
        done = (query - 1) * 10_000 // self.queries
        return self.p / 2.0 ** bisect_left(HALVINGS, done)


def climb_linf(oracle: Oracle, search: Survivors, threat: ThreatModel, loss: str, queries: int, share: Schedule) -> None:
    """Start from stripes; squares take one corner of the ball in each channel.

    Args:
        oracle: The model.
        search: Who is to be broken; gets the points found.
        threat: Ball, box and goal.
        loss: Name of what to climb.
        queries: Forward passes on each sample.
        share: Query to the share of positions in its square.
    """
    x = search.x
    shape, size, grid = x.shape[1:], x[0].numel(), Grid.of(x)
    corners = torch.cat([threat.project(x + sign * threat.eps, x).flatten(1) for sign in (-1.0, 1.0)], dim=1)
    stripes = search.rng.integers(2, (grid.channels, 1, grid.width)).expand(-1, -1, grid.height, -1)
    point = corners.gather(1, grid.flat(stripes) * size + torch.arange(size, device=x.device))
    logits = oracle.logits(point.view(-1, *shape))
    value = ascend(loss, search.y, threat.goal)(logits)
    point, value, corners = search.drop(search.broken(logits), point.view(-1, *shape), value, corners)
    for query in range(1, queries):
        if not len(search):
            return
        turn = (query - 1) % BLOCK
        if not turn:
            sides = [grid.sides(share(q)) for q in range(query, query + BLOCK)]
            draws = search.rng.uniform((BLOCK, 2 + grid.channels))
            tall, wide = torch.tensor(sides, device=x.device).unbind(1)
            place = grid.corner(draws[..., :2], tall, wide)
            upper = (draws[..., 2:] < 0.5) * size
            windows = {side: grid.window(*side, x.device) for side in set(sides)}
        # Only the square is written, and written back where it didn't help: nothing else in a query costs more than a few rows.
        flat, where = point.view(-1, size), place[:, turn, None, None] + windows[sides[turn]]
        corner = corners.gather(1, (where + upper[:, turn, :, None]).flatten(1))
        where = where.flatten(1)
        before = flat.gather(1, where)
        flat.scatter_(1, where, corner)
        asked = (corner != before).any(1).nonzero().squeeze(1)  # a third of the squares, on MNIST, are there already
        if not len(asked):
            continue
        logits = oracle.logits(point[asked], search.places[asked])
        reached = value.clone().index_copy_(0, asked, ascend(loss, search.y[asked], threat.goal)(logits))
        broken = torch.zeros_like(search.y, dtype=torch.bool).index_copy_(0, asked, search.broken(logits, asked))
        better = (reached > value) | broken
        flat.scatter_(1, where, torch.where(better[:, None], corner, before))
        value = torch.where(better, reached, value)
        point, value, corners, place, upper = search.drop(broken, point, value, corners, place, upper)
    search.settle(point)
