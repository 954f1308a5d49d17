"""Square for L2 and L1: the budget moves from one window of the input to another.

Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049, algorithm 3 and eq. 2 (L2); for L1 the same with absolute sums,
as in Croce and Hein 2021, "Mind the box", arXiv:2103.01208, sec. 4.3.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from martensite.attacks.grid import Grid
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.squares import places_in
from martensite.attacks.survivors import Survivors
from martensite.models.windows import Known
from martensite.threat import ThreatModel
from martensite.threat.ball import Box

Schedule = Callable[[int], float]
Limits = Mapping[int, float]
BLOCK = 32  # queries whose random draws are made at once
TILES = 5  # the start has so many bumps along each side
TINY = 1e-12


def climb_lp(
    oracle: Oracle, search: Survivors, threat: ThreatModel, loss: str, queries: int, share: Schedule, limits: Limits
) -> None:
    """Each query empties one window and puts what it held, and what is left of eps, into another. Arguments: see `climb_linf`."""
    x = search.x
    grid, power = Grid.of(x), 2.0 if threat.norm == "l2" else 1.0
    eps = threat.eps * (1.0 - 1e-6)  # leaves room for rounding
    clean = x.flatten(1)
    point = threat.project(x + eps * _tiles(grid, search, power).to(x).view_as(x), x)
    logits = oracle.logits(point)
    value = ascend(loss, search.y, threat.goal)(logits)
    point, value, clean = search.drop(search.broken(logits), point, value, clean)
    known, tried = None, None
    for start in range(1, queries, BLOCK):
        sides = [_odd(grid, share(query)) for query in range(start, min(start + BLOCK, queries))]
        draws = search.rng.uniform((BLOCK, 5 + grid.channels))
        if known is None and sides[0] != tried:
            known, tried = oracle.known(point, sides[0], windows=2), sides[0]
            value = value if known is None else ascend(loss, search.y, threat.goal)(known.answers)
        kept = [] if known is None else [_in_known(known, grid, draws, sides), *known.kept]
        for turn, side in enumerate(sides):
            if not len(search):
                return
            flat, windows = _moved(grid, draws[:, turn], side, power, eps, threat.box, point.flatten(1), clean)
            trial = flat.view_as(point)
            if known is None:
                logits = oracle.logits(trial)
            else:
                rows, values = torch.arange(len(trial), device=x.device), flat.gather(1, windows)
                values = values.view(len(trial), 2, grid.channels, *side)
                logits = oracle.near(known, rows, kept[0][:, turn], side, values, search.places)
            reached, broken = ascend(loss, search.y, threat.goal)(logits), search.broken(logits)
            better = (reached > value) | broken
            point[better], value = trial[better], torch.where(better, reached, value)
            if known is not None:
                known.take_back((~better).nonzero().squeeze(1))
            point, value, clean, draws, *kept = search.drop(broken, point, value, clean, draws, *kept)
            if start + turn in limits:
                hopeless = value < limits[start + turn] * search.carried
                point, value, clean, draws, *kept = search.give_up(hopeless, point, value, clean, draws, *kept)
            if known is not None:
                known.kept = kept[1:]
    search.settle(point)


def _moved(
    grid: Grid, draw: Tensor, side: tuple[int, int], power: float, eps: float, box: Box, point: Tensor, clean: Tensor
) -> tuple[Tensor, Tensor]:
    """Points (m, size) after one query's move, and where the values of its windows lie: of the emptied one, then of the filled.

    Args:
        grid: Of the input.
        draw: (m, 5 + channels) uniform in [0, 1): where the filled and the emptied window lie, how its bump is turned, its signs.
        side: Height and width of both windows.
        power: 2 for L2, 1 for L1.
        eps: Radius of the ball.
        box: Lowest and highest valid value.
        point: (m, size) where the search stands.
        clean: (m, size) clean inputs.
    """
    window, (tall, wide) = grid.window(*side, point.device), torch.tensor(side, device=point.device)
    into, out_of = ((grid.corner(draw[:, k : k + 2], tall, wide)[:, None, None] + window).flatten(1) for k in (0, 2))
    by_channel, delta = (len(point), *window.shape), point - clean
    filled = delta.gather(1, into).view(by_channel)
    # What the windows hold together: where they overlap, values count once.
    held = _sum(delta.scatter(1, into, 0.0).gather(1, out_of).view(by_channel), power) + _sum(filled, power)
    unused = (eps**power - _sum(delta, power)).clamp_min_(0.0) / grid.channels
    bump = _bumps(*side, power).to(point)[(draw[:, 4] < 0.5).long()][:, None] * (1.0 - 2.0 * (draw[:, 5:, None] < 0.5).to(point))
    bump += filled / _sum(filled, power).pow(1 / power).clamp_min(TINY)[..., None]
    length = ((held + unused[:, None]) / _sum(bump, power).clamp_min(TINY)).pow(1 / power)
    moved = (clean.gather(1, into) + (bump * length[..., None]).flatten(1)).clamp_(*box)
    # The second window is emptied first: where the two overlap, the new values win.
    trial = point.scatter(1, out_of, clean.gather(1, out_of)).scatter_(1, into, moved)
    return trial, torch.cat([out_of, into], dim=1)


def _in_known(known: Known, grid: Grid, draws: Tensor, sides: list[tuple[int, int]]) -> Tensor:
    """int64 (m, count, 2, p) where each query's windows, the emptied and the filled, lie in what is kept of the points."""
    tall, wide = torch.tensor(sides, device=draws.device).unbind(1)
    pair = [grid.corner(draws[:, : len(sides), k : k + 2], tall, wide) for k in (2, 0)]
    return torch.stack([places_in(known, grid, place, sides) for place in pair], dim=2)


def _sum(values: Tensor, power: float) -> Tensor:
    """Sum of squares or of magnitudes over the last axis."""
    return (values * values).sum(-1) if power == 2.0 else values.abs().sum(-1)


def _odd(grid: Grid, share: float) -> tuple[int, int]:
    """Sides of the windows: odd, and three at least, where the input is as large."""
    tall, wide = grid.sides(share, least=3)
    return min(tall | 1, grid.height), min(wide | 1, grid.width)


def _tiles(grid: Grid, search: Survivors, power: float) -> Tensor:
    """(m, size) the start: bumps with random signs all over the input, of unit norm."""
    tall, wide = max(grid.height // TILES, 1), max(grid.width // TILES, 1)
    down, across = grid.height // tall, grid.width // wide
    signs = search.rng.sign((grid.channels, down, across))
    tiles = torch.kron(signs, _bumps(tall, wide, power)[0].view(tall, wide).to(signs))
    top, left = (grid.height - down * tall) // 2, (grid.width - across * wide) // 2
    start = signs.new_zeros(len(signs), grid.channels, grid.height, grid.width)
    start[:, :, top : top + down * tall, left : left + across * wide] = tiles
    flat = grid.flat(start)
    return flat / _sum(flat, power).pow(1 / power)[:, None]


@cache
def _bumps(tall: int, wide: int, power: float) -> Tensor:
    """(2, tall * wide) eq. 2 and fig. 3: a bump and its negative side by side, of unit norm; the second with its axes swapped."""
    if tall == 1:
        upright = torch.cat([_bump(1, wide // 2), -_bump(1, wide - wide // 2)], dim=1)
    else:
        upright = torch.cat([_bump(tall // 2, wide), -_bump(tall - tall // 2, wide)])
    both = torch.stack([upright.flatten(), (upright.T if tall == wide else -upright).flatten()])
    return both / _sum(both, power).pow(1 / power)[:, None]


def _bump(tall: int, wide: int) -> Tensor:
    """(tall, wide) eq. 2: falls with the distance r from the centre like the sum of 1 / (k + 1)**2 over k >= r."""
    row, column = (torch.arange(side) - side // 2 for side in (tall, wide))
    distance = torch.maximum(row.abs()[:, None], column.abs())
    falling = 1.0 / torch.arange(1, max(tall, wide) // 2 + 2, dtype=torch.float32) ** 2
    return falling.flip(0).cumsum(0).flip(0)[distance]
