"""Square for Linf where squares are small and many samples are left: the model is asked about the squares alone.

The search of `square_linf`, one query after the other, but that a model that begins with convolutions computes only what a square
reaches: see `models.windows`.
"""

import torch
from torch import Tensor

from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.squares import Squares, places_in
from martensite.attacks.survivors import Survivors
from martensite.models.windows import Known
from martensite.threat import ThreatModel


def follow_windows(
    oracle: Oracle,
    search: Survivors,
    squares: Squares,
    known: Known,
    threat: ThreatModel,
    loss: str,
    point: Tensor,
    value: Tensor,
    corners: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the survivors through all their squares; point, value and corners of those that are left.

    Args:
        oracle: The model.
        search: The survivors.
        squares: Theirs.
        known: Their points.
        threat: Ball, box and goal.
        loss: Name of what to climb.
        point: (m, C, H, W) where the search stands.
        value: (m,) the loss there.
        corners: (m, 2 * size) lower and upper corner of each ball.
    """
    grid, size, place, upper = squares.grid, point[0].numel(), squares.place, squares.upper
    reached = places_in(known, grid, place, squares.sides)
    for turn, side in enumerate(squares.sides):
        where = place[:, turn, None, None] + grid.window(*side, point.device)
        corner = corners.gather(1, (where + upper[:, turn, :, None] * size).flatten(1))
        where, flat = where.flatten(1), point.flatten(1)
        rows = (corner != flat.gather(1, where)).any(1).nonzero().squeeze(1)  # the others are there already
        if not len(rows):
            continue
        values = corner.index_select(0, rows).view(-1, 1, grid.channels, *side)
        logits = oracle.near(known, rows, reached[:, turn, None].index_select(0, rows), side, values, search.places[rows])
        risen, broken = ascend(loss, search.y[rows], threat.goal)(logits), search.broken(logits, rows)
        better = (risen > value[rows]) | broken
        known.take_back((~better).nonzero().squeeze(1))
        who = rows[better]
        value[who] = risen[better]
        point[who] = flat[who].scatter(1, where[who], corner[who]).view(-1, *point.shape[1:])
        if bool(broken.any()):
            gone = torch.zeros(len(point), dtype=torch.bool, device=point.device).index_fill_(0, rows[broken], True)
            point, value, corners, place, upper, reached, *known.kept = search.drop(
                gone, point, value, corners, place, upper, reached, *known.kept
            )
    return point, value, corners
