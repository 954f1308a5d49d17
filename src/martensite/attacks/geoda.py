"""GeoDA: the boundary taken for a plane: estimate its normal by labels alone, and go to it by the shortest way in the norm.

Rahmati, Moosavi-Dezfooli, Frossard and Dai 2020, "GeoDA: a geometric framework for black-box adversarial attacks",
arXiv:2003.06468, algorithm 1, sec. 3 (normal and step) and eq. 19 (queries a round).
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.decisions import Decisions, grid_step
from martensite.attacks.linear import length, step_to_plane
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import BALLS, Norm, ThreatModel
from martensite.threat.ball import columns

FIRST = 80  # points of the first round at most; with more queries there are more rounds
SEARCH = 25  # queries that a round is granted besides them
FARTHER, TRIES = 1.25, 40  # by how much, and how often, the step to the plane is stretched until it is adversarial


@ATTACKS.register
class GeoDA(Attack):
    """GeoDA. A targeted goal starts from random inputs of the target class; where there are none, nothing is found.

    Args:
        queries: Forward passes on each sample at most.
        sigma: Standard deviation of the points around the boundary, in widths of the box.
        tolerance: How close (L2) to the boundary, in widths of the box.
        decay: Each round has decay**(-2/3) times the points of the one before it, lambda in the paper.
        frequencies: Of an image larger than this, points differ in so many of the lowest frequencies along each side.
        starts: Random inputs that are tried until one is adversarial.
    """

    kind: Literal["geoda"] = "geoda"
    queries: PositiveInt = 4000
    sigma: PositiveFloat = 2e-4
    tolerance: PositiveFloat = 1e-4
    decay: float = Field(default=0.6, gt=0.0, le=1.0)
    frequencies: PositiveInt = 75
    starts: PositiveInt = 100

    needs: ClassVar = Access.DECISIONS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "linf", "l1")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x_t = x + the shortest step to the plane through x_{t-1} with normal w_t, stretched until it is adversarial."""
        search = Decisions(oracle, x, y, threat, self.queries)
        sigma = max(self.sigma * (threat.box[1] - threat.box[0]), grid_step(threat))
        search.start(rng, self.starts)
        boundary, normal, bases = x.clone(), torch.zeros_like(x), self._bases(x)
        rows = search.rows()
        start = search.point[rows]
        boundary[rows] = search.pull(rows, start, self._close(length(start - x[rows], "l2"), threat))
        for turn, points in enumerate(self.rounds()):
            rows = search.rows(SEARCH + 1)
            if not len(rows):
                break
            stream = rng.fork("normal", turn)[rows]

            def draw(count: int, stream: Streams = stream) -> Tensor:
                noise = stream.normal((count, *x.shape[1:])).to(x) * sigma
                return noise if bases is None else bases[0] @ noise @ bases[1]

            counts = torch.clamp(search.left[rows] - SEARCH, max=points)
            total, every, balance = search.sides(rows, boundary[rows], counts, draw)
            # Where the box cuts points off, their mean isn't zero, and has to be taken away from what the sides say.
            normal[rows] += total - columns(balance, x) * every
            boundary[rows] = self._step(search, rows, x[rows], boundary[rows], normal[rows], threat)
        return search.confirm()

    def rounds(self) -> list[int]:
        """Points of each round, eq. 19."""
        count, points = 1, [self.queries]
        while points[0] > FIRST:
            count += 1
            shares = [self.decay ** (-2.0 * turn / 3.0) for turn in range(count)]
            points = [max(round((self.queries - SEARCH * count) * share / math.fsum(shares)), 1) for share in shares]
        return points

    def _step(self, search: Decisions, rows: Tensor, x: Tensor, boundary: Tensor, normal: Tensor, threat: ThreatModel) -> Tensor:
        """To the plane, on until that is adversarial, and back to the boundary; the old point where it never is."""
        w = BALLS["l2"].steepest_step(normal, x, threat.box)
        height = ((boundary - x) * w).flatten(1).sum(1).abs()

        def path(t: Tensor, which: Tensor) -> Tensor:
            return (x[which] + step_to_plane(x[which], w[which], t * height[which], threat.norm, threat.box)).clamp_(*threat.box)

        low, high = torch.zeros_like(height), torch.ones_like(height)
        pending, missed = torch.arange(len(rows), device=rows.device), torch.ones_like(height, dtype=torch.bool)
        for _ in range(TRIES):
            hit = search.ask(path(high[pending], pending), rows[pending])
            missed[pending[hit]] = False
            pending = pending[~hit & (search.left[rows[pending]] > 0)]
            if not len(pending):
                break
            low[pending], high[pending] = high[pending], high[pending] * FARTHER
        found = (~missed).nonzero().squeeze(1)
        end = boundary.clone()
        if len(found):
            close = high[found] * self._close(length(path(high[found], found) - x[found], "l2"), threat)
            at = search.bisect(rows[found], lambda t, which: path(t, found[which]), low[found], high[found], close)
            end[found] = path(at, found)
        return end

    def _close(self, far: Tensor, threat: ThreatModel) -> Tensor:
        """(m,) the tolerance as a share of distances (m,); of small ones, a thousandth at most."""
        return (self.tolerance * (threat.box[1] - threat.box[0]) / far.clamp_min(torch.finfo(far.dtype).tiny)).clamp_max(1e-3)

    def _bases(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Projections (h, h) and (w, w) of an image's columns and rows onto the low frequencies; None if it has no others."""
        if x.dim() != 4 or max(x.shape[2:]) <= self.frequencies:
            return None
        down, across = (_low_pass(side, self.frequencies).to(x) for side in x.shape[2:])
        return down, across


def _low_pass(side: int, count: int) -> Tensor:
    """(side, side) projection onto the first functions of the discrete cosine transform."""
    place, frequency = torch.arange(side) + 0.5, torch.arange(min(count, side))
    basis = torch.cos(math.pi / side * frequency[:, None] * place)
    basis /= basis.norm(dim=1, keepdim=True)
    return basis.T @ basis
