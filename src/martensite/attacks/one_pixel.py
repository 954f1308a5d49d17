"""One pixel: differential evolution over which pixels to change and to what, by scores alone.

Su, Vargas and Sakurai 2019, "One pixel attack for fooling deep neural networks", arXiv:1710.08864, sec. III-B and III-C.
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.estimate import rounds
from martensite.attacks.grid import Grid
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class OnePixel(Attack):
    """One pixel, or as many as eps allows: eps features are eps / channels pixels (see `grid`); single features, if that is none.

    Args:
        queries: Forward passes on each sample at most, a whole number of generations.
        population: Candidates a generation.
        f: How far a child goes along the difference of two parents, F in the paper.
    """

    kind: Literal["one_pixel"] = "one_pixel"
    queries: PositiveInt = 40_000
    population: PositiveInt = 400
    f: PositiveFloat = 0.5

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("l0",)

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x_i(g + 1) = x_r1(g) + F (x_r2(g) - x_r3(g)), where that is fitter than x_i(g)."""
        search, grid = Survivors(oracle, x, y, threat, rng), Grid.of(x)
        if threat.eps < grid.channels:
            grid = Grid(1, 1, x[0].numel(), (0, 0, 1))
        size, pixels = min(self.population, self.queries), int(threat.eps) // grid.channels
        mean, spread = sum(threat.box) / 2.0, (threat.box[1] - threat.box[0]) / 2.0
        children = torch.cat([
            search.rng.uniform((size, pixels, 1), 0.0, grid.height), search.rng.uniform((size, pixels, 1), 0.0, grid.width),
            mean + spread * search.rng.normal((size, pixels, grid.channels)),
        ], dim=3).to(x)  # fmt: skip
        parents, fitness = children, torch.full(children.shape[:2], -torch.inf, dtype=torch.float64, device=x.device)
        for _ in range(self.queries // size):
            parents, fitness = _select(oracle, search, threat, grid, parents, fitness, children)
            if not len(search):
                return search.found
            # One time in a population a child equals its first parent: both ends of the difference are the same.
            first, second, third = search.rng.integers(size, (3, size)).unbind(1)
            children = _pick(parents, first) + self.f * (_pick(parents, second) - _pick(parents, third))
        search.settle(_paint(search.x, _pick(parents, fitness.argmax(1)[:, None]), grid, threat)[0])
        return search.found


def _select(
    oracle: Oracle, search: Survivors, threat: ThreatModel, grid: Grid, parents: Tensor, fitness: Tensor, children: Tensor
) -> tuple[Tensor, Tensor]:
    """Whoever is fitter, a parent or its child; samples that a child breaks leave. Fitness is the cross-entropy."""
    reached = torch.zeros_like(fitness)
    step = rounds(search.x)
    for start in range(0, children.shape[1], step):
        trial = _paint(search.x, children[:, start : start + step], grid, threat)
        m, count = len(search), len(trial)
        who = torch.arange(m, device=trial.device).repeat(count)
        logits = oracle.logits(trial.flatten(0, 1))
        gain = ascend("ce", search.y[who], threat.goal)(logits).double()
        reached[:, start : start + count] = gain.view(count, m).T
        broken = search.broken(logits, who).view(count, m)
        best = trial[broken.to(torch.uint8).argmax(0), who[:m]]
        _, parents, fitness, children, reached = search.drop(broken.any(0), best, parents, fitness, children, reached)
        if not len(search):
            return parents, fitness
    better = reached > fitness
    return torch.where(better[..., None, None], children, parents), torch.where(better, reached, fitness)


def _pick(parents: Tensor, which: Tensor) -> Tensor:
    """(m, r, pixels, genes) of parents (m, size, pixels, genes), for each sample those at which (m, r)."""
    return parents[torch.arange(len(parents), device=parents.device)[:, None], which]


def _paint(x: Tensor, genes: Tensor, grid: Grid, threat: ThreatModel) -> Tensor:
    """(r, m, *d) the inputs x with pixels changed as genes (m, r, pixels, 2 + channels) say: row, column, values."""
    m, r = genes.shape[:2]
    genes = genes.transpose(0, 1)
    row, column = genes[..., 0].clamp(0, grid.height - 1).long(), genes[..., 1].clamp(0, grid.width - 1).long()
    where = grid.pixels(row * grid.width + column).flatten(2)
    values = genes[..., 2:].clamp(*threat.box).flatten(2)
    return x.flatten(1).expand(r, -1, -1).scatter(2, where, values).view(r, m, *x.shape[1:])
