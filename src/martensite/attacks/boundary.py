"""Boundary attack: a random walk along the decision boundary, ever nearer to the clean input, by labels alone.

Brendel, Rauber and Bethge 2018, "Decision-based adversarial attacks: reliable attacks against black-box machine learning models",
arXiv:1712.04248, algorithm 1 and sec. 2.2 to 2.3.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.decisions import Decisions
from martensite.attacks.linear import length
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns

CONVERGED = 1e-7  # a step towards the clean input below this share of the distance
COARSE = 1e-3  # share of the distance up to which the start is brought to the boundary
TEST = 5  # every so many steps it is also asked whether the step along the sphere alone is adversarial
SPHERE_TESTS, STEPS = 20, 30  # outcomes after which the lengths are adapted


@ATTACKS.register
class Boundary(Attack):
    """The boundary attack. A targeted goal starts from random inputs of the target class; where there are none, nothing is found.

    Args:
        queries: Forward passes on each sample at most.
        sphere_step: First length of a step along the sphere around the clean input, as a share of the distance (delta).
        source_step: First length of the step towards the clean input that follows, as a share of the distance (epsilon).
        adaptation: Factor by which they grow while more than half of the steps along the sphere are adversarial, or more than a
            quarter of those that follow, and shrink if those are less than a fifth or a tenth.
        starts: Random inputs that are tried until one is adversarial.
    """

    kind: Literal["boundary"] = "boundary"
    queries: PositiveInt = 25_000
    sphere_step: PositiveFloat = 0.01
    source_step: PositiveFloat = 0.01
    adaptation: float = Field(default=1.5, gt=1.0)
    starts: PositiveInt = 100

    needs: ClassVar = Access.DECISIONS
    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x' <- x' + eta, eta along the sphere and then inwards, where that is adversarial."""
        search = Decisions(oracle, x, y, threat, self.queries)
        search.start(rng, self.starts)
        rows = search.rows()
        clean, stream = x[rows], rng.fork("walk")[rows]
        ones = torch.ones(len(rows), dtype=x.dtype, device=x.device)

        point, delta, epsilon = search.pull(rows, search.point[rows], COARSE), self.sphere_step * ones, self.source_step * ones
        sphere, inward = _Tally(ones), _Tally(ones)
        step = 0
        while len(rows):
            step += 1
            on_sphere, trial = _propose(clean, point, delta, epsilon, stream, threat)
            hit = search.ask(trial, rows)
            nearer = hit & (length(trial - clean, "l2") < length(point - clean, "l2"))
            point = torch.where(columns(nearer, x).bool(), trial, point)
            grow, shrink = inward.add(hit, STEPS, 0.1, 0.25)
            epsilon = epsilon * self.adaptation ** (grow - shrink)
            if step % TEST == 0:
                grow, shrink = sphere.add(search.ask(on_sphere, rows), SPHERE_TESTS, 0.2, 0.5)
                change = self.adaptation ** (grow - shrink)
                delta, epsilon = delta * change, epsilon * change
            stay = (search.left[rows] > 0) & (epsilon > CONVERGED)
            if not bool(stay.all()):
                rows, clean, point, stream = rows[stay], clean[stay], point[stay], stream[stay]
                delta, epsilon, sphere, inward = delta[stay], epsilon[stay], sphere[stay], inward[stay]
        return search.confirm()


class _Tally:
    """For each sample, how many outcomes there were since its lengths were last adapted, and how many of them adversarial."""

    def __init__(self, like: Tensor) -> None:
        self.count, self.hits = torch.zeros_like(like), torch.zeros_like(like)

    def __getitem__(self, stay: Tensor) -> "_Tally":
        kept = _Tally(self.count[stay])
        kept.count, kept.hits = self.count[stay], self.hits[stay]
        return kept

    def add(self, hit: Tensor, window: int, low: float, high: float) -> tuple[Tensor, Tensor]:
        """Count outcomes; 1 or 0 for each sample: is the length to grow, is it to shrink?"""
        self.count += 1.0
        self.hits += hit
        full, share = self.count >= window, self.hits / self.count
        grow, shrink = full & (share > high), full & (share < low)
        self.count[full], self.hits[full] = 0.0, 0.0
        return grow.to(self.count), shrink.to(self.count)


def _propose(
    x: Tensor, point: Tensor, delta: Tensor, epsilon: Tensor, rng: Streams, threat: ThreatModel
) -> tuple[Tensor, Tensor]:
    """A point of the sphere around x that ``point`` lies on, and one further inwards: sec. 2.2, in the box."""
    tiny = torch.finfo(x.dtype).tiny
    away = (point - x).flatten(1)
    radius = away.norm(dim=1, keepdim=True).clamp_min(tiny)
    eta = rng.normal(x.shape[1:]).to(x).flatten(1)
    eta -= (eta * away).sum(1, keepdim=True) / radius**2 * away
    eta *= delta[:, None] * radius / eta.norm(dim=1, keepdim=True).clamp_min(tiny)
    clean = x.flatten(1)
    sphere = (clean + (away + eta) / (1.0 + delta[:, None] ** 2).sqrt()).clamp_(*threat.box)
    away = sphere - clean
    size = away.norm(dim=1, keepdim=True).clamp_min(tiny)
    inwards = (epsilon[:, None] * radius + size - radius).clamp_min(0.0) / size
    return sphere.view_as(x), (clean + (1.0 - inwards) * away).clamp_(*threat.box).view_as(x)
