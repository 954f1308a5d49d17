"""HopSkipJump: along the boundary by labels alone: estimate its normal, jump along it, and walk back to the boundary.

Chen, Jordan and Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", arXiv:1904.02144, algorithms 1
and 2.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.decisions import Decisions, grid_step
from martensite.attacks.linear import length
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import BALLS, Norm, ThreatModel
from martensite.threat.ball import columns

MOST = 10_000  # points for one estimate
LAST = 25  # queries that a round needs besides them
TRIES = 40  # halvings of a jump
COARSE = 1e-3  # least accuracy on the boundary, where few features would allow less


@ATTACKS.register
class HopSkipJump(Attack):
    """HopSkipJump. A targeted goal starts from random inputs of the target class; where there are none, nothing is found.

    Args:
        queries: Forward passes on each sample at most; all are spent.
        samples: Points of the first estimate of the normal; sqrt(t) times as many of the t-th.
        gamma: The walk back ends within gamma / d**1.5 (L2) or gamma / d**2 (Linf) of the distance, for d features.
        starts: Random inputs that are tried until one is adversarial.
    """

    kind: Literal["hopskipjump"] = "hopskipjump"
    queries: PositiveInt = 25_000
    samples: PositiveInt = 100
    gamma: PositiveFloat = 1.0
    starts: PositiveInt = 100

    needs: ClassVar = Access.DECISIONS
    norms: ClassVar[tuple[Norm, ...]] = ("l2", "linf")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x_t = walk back from x_{t-1} + xi_t v_t, v_t the normal (its sign, for Linf) at x_{t-1}."""
        search, d, t = Decisions(oracle, x, y, threat, self.queries), x[0].numel(), 0
        search.start(rng, self.starts)
        theta = self.gamma / d ** (1.5 if threat.norm == "l2" else 2.0)
        boundary = x.clone()
        rows = search.rows()
        boundary[rows] = _walk_back(search, x[rows], search.point[rows], rows, threat, theta)
        while len(rows := search.rows(LAST + 1)):
            t += 1
            clean, point, stream = x[rows], boundary[rows], rng.fork("normal", t)[rows]
            far = length(point - clean, threat.norm)
            reach = d ** (0.5 if threat.norm == "l2" else 1.0) * theta * far
            delta = reach if t > 1 else torch.full_like(far, 0.1 * (threat.box[1] - threat.box[0]))
            delta = delta.clamp_min(grid_step(threat) * math.sqrt(d))
            counts = torch.clamp(search.left[rows] - LAST, max=min(int(self.samples * math.sqrt(t)), MOST))

            def draw(count: int, stream: Streams = stream, delta: Tensor = delta) -> Tensor:
                shape = (count, *x.shape[1:])
                u = stream.normal(shape) if threat.norm == "l2" else stream.uniform(shape, -1.0, 1.0)
                size: Tensor = u.flatten(2).norm(dim=2).clamp_min(torch.finfo(u.dtype).tiny)
                return u.to(x) * (delta[:, None] / size.to(x)).view(len(u), count, *[1] * (x.dim() - 1))

            total, every, balance = search.sides(rows, point, counts, draw)
            # Eq. 16, the mean as baseline; where all points lie on one side, it would leave nothing.
            one_sided = columns((balance.abs() == 1.0).to(x), x)
            normal = total - columns(balance, x) * every * (1.0 - one_sided)
            direction = BALLS[threat.norm].steepest_step(normal, point, threat.box)
            jump = self._jump(search, rows, point, direction, far / math.sqrt(t), threat)
            boundary[rows] = _walk_back(search, clean, jump, rows, threat, theta)
        return search.confirm()

    def _jump(
        self, search: Decisions, rows: Tensor, point: Tensor, direction: Tensor, step: Tensor, threat: ThreatModel
    ) -> Tensor:
        """The point plus the longest of step, step / 2, step / 4, ... that is adversarial; the point itself, if none is."""
        end, pending = point.clone(), torch.arange(len(rows), device=rows.device)
        for halvings in range(TRIES):
            trial = point[pending] + columns(step[pending] / 2.0**halvings, point) * direction[pending]
            hit = search.ask(trial.clamp_(*threat.box), rows[pending])
            end[pending[hit]] = trial[hit]
            pending = pending[~hit & (search.left[rows[pending]] > 0)]
            if not len(pending):
                break
        return end


def _walk_back(search: Decisions, x: Tensor, point: Tensor, rows: Tensor, threat: ThreatModel, theta: float) -> Tensor:
    """From adversarial points (m, *d) towards x, up to the boundary: along the line for L2, by a shrinking cube for Linf."""
    far = length(point - x, threat.norm)
    if threat.norm == "l2":
        high, scale = torch.ones_like(far), torch.ones_like(far)
    else:
        high, scale = far, far.clamp_max(1.0)

    def path(t: Tensor, which: Tensor) -> Tensor:
        clean, outer, t = x[which], point[which], columns(t, x)
        mixed = clean + t * (outer - clean) if threat.norm == "l2" else outer.clamp(clean - t, clean + t)
        return mixed.clamp_(*threat.box)

    at = search.bisect(rows, path, torch.zeros_like(high), high, min(theta, COARSE) * scale)
    return path(at, torch.arange(len(rows), device=rows.device))
