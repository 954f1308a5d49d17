"""Square for Linf: squares take one corner of the ball in each channel; of few samples several queries are asked in one pass.

Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049, algorithms 1 and 2.

A query proposes from the point that the last accepted one led to. Most are refused; so the next few are proposed from the present
point all at once, the first that is accepted takes effect, and what came after it is proposed anew with the same draws. That is
the search of one query at a time, but that its samples advance each at a speed of its own, and it counts the same questions.
"""

import torch
from torch import Tensor

from martensite.attacks.grid import Grid
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.square_lp import BLOCK, Limits, Schedule
from martensite.attacks.square_windows import follow_windows
from martensite.attacks.squares import Squares
from martensite.attacks.survivors import Survivors
from martensite.threat import ThreatModel

AHEAD = 10  # queries of one sample in one pass: 8 to 12 are the fastest of 4 to 32, where 10 to 25 % are accepted
FULL = 16  # points from which on a pass on a CPU takes the same time a point


def climb_linf(
    oracle: Oracle, search: Survivors, threat: ThreatModel, loss: str, queries: int, share: Schedule, limits: Limits
) -> None:
    """Start from stripes, then put squares somewhere and keep those that raise the loss.

    Args:
        oracle: The model.
        search: Who is to be broken; gets the points found.
        threat: Ball, box and goal.
        loss: Name of what to climb.
        queries: Forward passes on each sample.
        share: Query to the share of positions in its square.
        limits: Query to the share of the clean margin, which the search carries, that a sample may have left to go on after it.
    """
    x = search.x
    shape, size, grid = x.shape[1:], x[0].numel(), Grid.of(x)
    corners = torch.cat([threat.project(x + sign * threat.eps, x).flatten(1) for sign in (-1.0, 1.0)], dim=1)
    stripes = search.rng.integers(2, (grid.channels, 1, grid.width)).expand(-1, -1, grid.height, -1)
    point = corners.gather(1, grid.flat(stripes) * size + torch.arange(size, device=x.device)).view(-1, *shape)
    logits = oracle.logits(point)
    value = ascend(loss, search.y, threat.goal)(logits)
    point, value, corners = search.drop(search.broken(logits), point, value, corners)
    query, known, tried = 1, None, None
    while query < queries and len(search):
        stop, many = min((limit for limit in limits if limit > query), default=queries), _ahead(oracle, len(search)) == 1
        last = min(query + BLOCK, stop) if many else stop
        squares = Squares(search, grid, [grid.sides(share(q)) for q in range(query, last)])
        if not many:
            known = None
        elif known is None and squares.sides[0] != tried:
            known, tried = oracle.known(point, squares.sides[0]), squares.sides[0]
            value = value if known is None else ascend(loss, search.y, threat.goal)(known.answers)
        if known is None:
            point, value, corners = _follow(oracle, search, squares, threat, loss, point, value, corners)
        else:
            point, value, corners = follow_windows(oracle, search, squares, known, threat, loss, point, value, corners)
        query = last
        if query in limits:
            hopeless, known, tried = value < limits[query] * search.carried, None, None
            point, value, corners = search.give_up(hopeless, point, value, corners)
    search.settle(point)


def _follow(
    oracle: Oracle,
    search: Survivors,
    squares: Squares,
    threat: ThreatModel,
    loss: str,
    point: Tensor,
    value: Tensor,
    corners: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the survivors through all their squares; point, value and corners of those that are left."""
    at = torch.zeros_like(search.y)  # the next square of each
    while going := int((at < squares.count).sum()):
        most = _ahead(oracle, going)
        turns = at[:, None] + torch.arange(most + most // 2, device=at.device)
        drawn, m, size = turns < squares.count, len(at), point[0].numel()
        where, upper = squares.at(turns.clamp_max(squares.count - 1))
        corner = corners.gather(1, (where + upper * size).flatten(1)).view(*turns.shape, -1)
        where, flat = where.flatten(2), point.view(m, size)
        # A third of the squares, on MNIST, are there already, and are not asked about.
        changed = (corner != flat.gather(1, where.flatten(1)).view_as(corner)).any(2) & drawn
        drawn &= changed.cumsum(1) - changed.long() < most
        rows, turn = (changed & drawn).nonzero(as_tuple=True)
        done, gone = drawn.sum(1), torch.zeros(m, dtype=torch.bool, device=at.device)
        if len(rows):
            trial = flat[rows].scatter_(1, where[rows, turn], corner[rows, turn]).view(-1, *point.shape[1:])
            logits = oracle.logits(trial, search.places[rows])
            reached, broken = ascend(loss, search.y[rows], threat.goal)(logits), search.broken(logits, rows)
            better = ((reached > value[rows]) | broken).nonzero().squeeze(1)
            better = better[torch.diff(rows[better], prepend=rows.new_full((1,), -1)) > 0]  # the first of each sample
            who = rows[better]
            point[who], value[who], gone[who], done[who] = trial[better], reached[better], broken[better], turn[better] + 1
            if len(needless := rows[turn >= done[rows]]):
                oracle.withdraw(search.places[needless], torch.ones_like(needless), torch.zeros_like(needless))
        point, value, corners, at, squares.place, squares.upper = search.drop(
            gone, point, value, corners, at + done, squares.place, squares.upper
        )
    return point, value, corners


def _ahead(oracle: Oracle, m: int) -> int:
    """How many queries of each of m samples to ask in one pass."""
    rows = min(oracle.spare, FULL) if oracle.model.device.type == "cpu" else oracle.spare
    return max(min(rows // m, AHEAD), 1)
