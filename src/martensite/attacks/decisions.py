"""What decision-based attacks share: a start that is adversarial, the way to the boundary, and which side of it points lie on.

Nothing of a model's answer counts but whether the judge would call it a success: of labels, another one; where there are scores,
another class that wins outright, for where classes tie the judge finds nothing. Each sample has its own number of queries left,
and goes on until they are spent, whatever the others in its batch do.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from martensite.attacks.estimate import rounds
from martensite.attacks.grid import Grid
from martensite.attacks.linear import length
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import succeeded
from martensite.core.rng import Streams
from martensite.threat import ThreatModel
from martensite.threat.ball import columns

# At the end the nearest adversarial moves outwards by this share of its distance, and by so many units in the last place of the
# box's width in each feature: on the boundary itself, the rounding of another batch would decide which side it is on.
OUTWARDS, ROUNDING = 1e-4, 4.0
FINEST = 16.0  # units in the last place between which no bisection tells apart
RIVALS, HALVINGS = 10, 6  # starts among which the nearest is taken, and halvings of the way to each of them


class Decisions:
    """A search by labels alone, over one batch.

    Args:
        oracle: The model.
        x: (n, *d) clean inputs.
        y: (n,) the class to leave, or to reach.
        threat: Norm, box and goal; its eps plays no part.
        queries: Forward passes on each sample at most.

    Attributes:
        point: (n, *d) the nearest adversarial so far, or x itself.
        distance: (n,) its distance, infinite where there is none.
        left: (n,) queries that may still be asked.
    """

    def __init__(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, queries: int) -> None:
        self._oracle, self._x, self._y, self._threat = oracle, x, y, threat
        self.point = oracle.found = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        most = oracle.affords(queries) if oracle.account.limited else torch.full_like(y, queries)
        self._spare = most > 1  # the last query is kept for `confirm`
        self.left = most - self._spare.long()

    def rows(self, least: int = 1) -> Tensor:
        """(m,) samples that have an adversarial and at least so many queries left."""
        return (self.distance.isfinite() & (self.left >= least)).nonzero().squeeze(1)

    def ask(self, point: Tensor, rows: Tensor) -> Tensor:
        """(m,) bool: which points (m, *d) of the samples ``rows``, none of them twice, are adversarial; False without queries."""
        able = self.left[rows] > 0
        hit = torch.zeros_like(able)
        asked, point = rows[able], point[able]
        if len(asked):
            hit[able] = fooled = self._decide(point, asked)
            places = asked[fooled]
            found = self._oracle.admissible(point[fooled], places)
            distance = length(found - self._x[places], self._threat.norm)
            nearer = distance < self.distance[places]
            self.point[places[nearer]], self.distance[places[nearer]] = found[nearer], distance[nearer]
        return hit

    def start(self, rng: Streams, tries: int) -> None:
        """Random inputs until one is adversarial, and some more, for a tenth of the queries at most: the nearest is taken.

        On a boundary of several faces, no walk along it leaves the valley where it began. The inputs are uniform noise, then such
        noise in ever larger blocks, then the same in black and white.
        """
        x, (low, high) = self._x, self._x.new_tensor(self._threat.box)
        grid, rivals = Grid.of(x), min(max(int(self.left.max()) // (100 * (HALVINGS + 1)), 1), RIVALS)
        blocks = [1] if x.dim() == 2 else [2**power for power in range(max(grid.height, grid.width).bit_length())]
        after = torch.zeros_like(self.left)  # tries since the first success
        for attempt in range(tries + rivals):
            after += self.distance.isfinite()
            open_ = (after < rivals) & (self.left > 0) & ((after > 0) | (attempt < tries))
            rows = open_.nonzero().squeeze(1)
            if not len(rows):
                return
            block = blocks[attempt % len(blocks)]
            noise = rng.fork("start", attempt)[rows].uniform((grid.channels, grid.height, grid.width)).to(x)
            down, across = (torch.arange(side, device=x.device) // block * block for side in (grid.height, grid.width))
            noise = noise[:, :, down][..., across]
            if attempt // len(blocks) % 2:
                noise = noise.round()
            point = (low + (high - low) * grid.flat(noise)).clamp_(low, high).view_as(x[rows])
            hit = self.ask(point, rows)
            self.pull(rows[hit], point[hit], 2.0**-HALVINGS)

    def pull(self, rows: Tensor, point: Tensor, tolerance: Tensor | float) -> Tensor:
        """Draw adversarials (m, *d) of the samples ``rows`` along the line to the clean input, up to the boundary.

        Args:
            rows: (m,) samples, none of them twice.
            point: Where to start.
            tolerance: How close to come to the boundary, as a share of the distance.
        """
        clean, ones = self._x[rows], torch.ones(len(rows), dtype=point.dtype, device=point.device)

        def line(t: Tensor, which: Tensor) -> Tensor:
            return (clean[which] + columns(t, point) * (point[which] - clean[which])).clamp_(*self._threat.box)

        at = self.bisect(rows, line, 0.0 * ones, ones, tolerance * ones)
        return line(at, torch.arange(len(rows), device=rows.device))

    def bisect(
        self, rows: Tensor, path: Callable[[Tensor, Tensor], Tensor], low: Tensor, high: Tensor, tolerance: Tensor
    ) -> Tensor:
        """Walk back along a path to where it becomes adversarial.

        Args:
            rows: (m,) samples, none of them twice.
            path: Takes places t (k,) and which of ``rows`` they are for (k,), and gives points (k, *d).
            low: (m,) place that is not adversarial.
            high: (m,) place that is.
            tolerance: (m,) how close to each other they have to come.

        Returns:
            (m,) the new ``high``.
        """
        tolerance = torch.maximum(tolerance, FINEST * torch.finfo(high.dtype).eps * high)
        low, high = low.clone(), high.clone()
        while len(which := ((high - low > tolerance) & (self.left[rows] > 0)).nonzero().squeeze(1)):
            middle = (low[which] + high[which]) / 2.0
            hit = self.ask(path(middle, which), rows[which])
            high[which], low[which] = torch.where(hit, middle, high[which]), torch.where(hit, low[which], middle)
        return high

    def sides(self, rows: Tensor, point: Tensor, counts: Tensor, draw: Callable[[int], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Ask which side of the boundary random points around ``point`` lie on: +1 for adversarial, -1 for not.

        Args:
            rows: (m,) samples.
            point: (m, *d) around which.
            counts: (m,) how many points for each; no more than it has queries left.
            draw: A number r to displacements (m, r, *d); points are clamped to the box.

        Returns:
            The sum of side * displacement (m, *d), the sum of displacements (m, *d) and the mean side (m,).
        """
        total, every, balance = torch.zeros_like(point), torch.zeros_like(point), torch.zeros_like(counts, dtype=point.dtype)
        step, most = rounds(point), int(counts.max())
        for start in range(0, most, step):
            count = min(step, most - start)
            trial = (point[:, None] + draw(count).to(point)).clamp_(*self._threat.box)
            moved = trial - point[:, None]
            asked = start + torch.arange(count, device=point.device) < counts[:, None]
            about = rows[asked.nonzero()[:, 0]]
            side = asked.to(point)
            every += torch.einsum("mr,mr...->m...", side, moved)
            side[asked] = self._decide(trial[asked], about).to(point) * 2.0 - 1.0
            total += torch.einsum("mr,mr...->m...", side, moved)
            balance += side.sum(1)
        return total, every, balance / counts

    def confirm(self) -> Tensor:
        """Move the nearest adversarials outwards by a hair, if they are still adversarial there; returns them all (n, *d)."""
        rows = (self.distance.isfinite() & self._spare).nonzero().squeeze(1)
        if len(rows):
            self.left[rows] += 1
            x = self._x[rows]
            unit = ROUNDING * torch.finfo(x.dtype).eps * (self._threat.box[1] - self._threat.box[0])
            hair = unit * length(torch.ones_like(x[:1]), self._threat.norm)
            scale = 1.0 + OUTWARDS + hair / self.distance[rows].clamp_min(torch.finfo(x.dtype).tiny)
            outer = (x + columns(scale, x) * (self.point[rows] - x)).clamp_(*self._threat.box)
            safe = self._decide(outer, rows)
            self.point[rows[safe]] = self._oracle.admissible(outer[safe], rows[safe])
        return self.point

    def _decide(self, point: Tensor, rows: Tensor) -> Tensor:
        answers = self._oracle.ballot(point, rows)
        self.left.index_add_(0, rows, torch.full_like(rows, -1))
        return succeeded(answers, self._y[rows], self._threat.goal)


def grid_step(threat: ThreatModel) -> float:
    """How far two levels of a feature lie apart; 0 where features aren't on a grid.

    Points that are drawn nearer to each other than that are answered at the same few grid points, and their sides tell nothing.
    """
    levels = None if threat.constraints is None else threat.constraints.levels
    return 0.0 if levels is None else (threat.box[1] - threat.box[0]) / (levels - 1)
