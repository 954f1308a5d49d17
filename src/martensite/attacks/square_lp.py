"""Square for L2 and L1: the budget moves from one window of the input to another.

Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049, algorithm 3 and eq. 2 (L2); for L1 the same with absolute sums,
as in Croce and Hein 2021, "Mind the box", arXiv:2103.01208, sec. 4.3.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from martensite.attacks.grid import Grid
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.threat import ThreatModel

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
    shape, size, grid, power = x.shape[1:], x[0].numel(), Grid.of(x), 2.0 if threat.norm == "l2" else 1.0
    eps = threat.eps * (1.0 - 1e-6)  # leaves room for rounding
    clean = x.flatten(1)
    point = threat.project(x + eps * _tiles(grid, search, power).to(x).view_as(x), x).flatten(1)
    delta = point - clean
    logits = oracle.logits(point.view(-1, *shape))
    value = ascend(loss, search.y, threat.goal)(logits)
    point, value, clean, delta = search.drop(search.broken(logits), point.view(-1, *shape), value, clean, delta)
    for query in range(1, queries):
        if not len(search):
            return
        turn = (query - 1) % BLOCK
        if not turn:
            sides = [_odd(grid, share(q)) for q in range(query, query + BLOCK)]
            draws = search.rng.uniform((BLOCK, 5 + grid.channels))
            tall, wide = torch.tensor(sides, device=x.device).unbind(1)
            into, out_of = grid.corner(draws[..., :2], tall, wide), grid.corner(draws[..., 2:4], tall, wide)
            turned, signs = (draws[..., 4] < 0.5).long(), 1.0 - 2.0 * (draws[..., 5:] < 0.5).to(x)
            windows = {side: (grid.window(*side, x.device), _bumps(*side, power).to(x)) for side in set(sides)}
        window, bumps = windows[sides[turn]]
        flat, (m, channels, area) = point.view(-1, size), (len(search), *window.shape)
        first, second = ((place[:, turn, None, None] + window).flatten(1) for place in (into, out_of))
        old = delta.gather(1, first), delta.gather(1, second), flat.gather(1, first), flat.gather(1, second)
        unused = (eps**power - _sum(delta, power)).clamp_min_(0.0) / channels
        # The second window is emptied first: where the two overlap, its values count once, and the new ones win.
        delta.scatter_(1, first, 0.0)
        held = _sum(delta.gather(1, second).view(m, channels, area), power) + _sum(old[0].view(m, channels, area), power)
        delta.scatter_(1, second, 0.0)
        bump = bumps[turned[:, turn]][:, None] * signs[:, turn, :, None]
        bump += (
            old[0].view(m, channels, area) / _sum(old[0].view(m, channels, area), power).pow(1 / power).clamp_min(TINY)[..., None]
        )
        length = ((held + unused[:, None]) / _sum(bump, power).clamp_min(TINY)).pow(1 / power)
        near, far = clean.gather(1, first), clean.gather(1, second)
        moved = (near + (bump * length[..., None]).flatten(1)).clamp_(*threat.box)
        flat.scatter_(1, second, far).scatter_(1, first, moved)
        logits = oracle.logits(point)
        reached, broken = ascend(loss, search.y, threat.goal)(logits), search.broken(logits)
        better = (reached > value) | broken
        kept, value = better[:, None], torch.where(better, reached, value)
        delta.scatter_(1, second, torch.where(kept, 0.0, old[1])).scatter_(1, first, torch.where(kept, moved - near, old[0]))
        flat.scatter_(1, second, torch.where(kept, far, old[3])).scatter_(1, first, torch.where(kept, moved, old[2]))
        point, value, clean, delta, into, out_of, turned, signs = search.drop(
            broken, point, value, clean, delta, into, out_of, turned, signs
        )
        if query in limits:
            point, value, clean, delta, into, out_of, turned, signs = search.give_up(
                value < limits[query] * search.carried, point, value, clean, delta, into, out_of, turned, signs
            )
    search.settle(point)


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
    falling = 1.0 / torch.arange(1, max(tall, wide) // 2 + 2) ** 2
    return falling.flip(0).cumsum(0).flip(0)[distance]
