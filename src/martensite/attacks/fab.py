"""FAB: project both the point and the clean input onto the linearised boundary inside the box, and go between the two.

Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", arXiv:1907.02044,
algorithm 1; the version over targets is that of Croce and Hein 2020, arXiv:2003.01690, sec. 5.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.lanes import turns_at_once
from martensite.attacks.linear import boundary, length, rivals, step_to_plane
from martensite.attacks.nearest import Nearest
from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import columns

FARTHEST_START = {"linf": 0.3, "l2": 1.0, "l1": 5.0}  # twice the radius that restarts are drawn from, in widths of the box


@ATTACKS.register
class FAB(Attack):
    """Fast adaptive boundary.

    Args:
        steps: Gradient steps a run.
        restarts: Runs; the first starts at the clean input, each other at a random point half as far away as the best so far.
        targets: None: a step goes to the nearest boundary of all, for K - 1 backward passes. A number: one run towards each of so
            many of the likeliest wrong classes (at most K - 1), for one backward pass a step; success is any wrong class.
        alpha: The most weight that the clean input's projection gets.
        beta: Share of the distance that is left after the step back from an adversarial.
        eta: How far a step goes, in ways to the boundary; above 1 to cross it.
        top: Classes that are considered if ``targets`` is None, by the clean logits.
        search: Forward passes of each of two searches after a run: towards the clean input's projection, as if alpha were 1, and
            on the line to the clean input, which is the paper's.

    A targeted goal goes to the boundary between the target and the strongest other class.
    """

    kind: Literal["fab"] = "fab"
    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    targets: PositiveInt | None = None
    alpha: float = Field(default=0.1, ge=0.0, le=1.0)
    beta: float = Field(default=0.9, ge=0.0, le=1.0)
    eta: PositiveFloat = 1.05
    top: int = Field(default=10, ge=2)
    search: NonNegativeInt = 4

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")
    bounded: ClassVar[bool] = False

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """x_{i+1} = (1 - a) (x_i + eta d_i) + a (x + eta d_x), where d_i and d_x lead from x_i and x to the boundary.

        Of few samples, the first runs towards several targets go side by side.
        """
        nearest = Nearest(oracle, x, y, threat)
        runs: list[Tensor | None] = [None]
        if threat.goal == "untargeted":
            classes = rivals(nearest.clean(), y, self.top if self.targets is None else self.targets + 1)
            runs = [classes] if self.targets is None else [column[:, None] for column in classes.unbind(1)]
        together = turns_at_once(oracle, len(x), len(runs))
        for first in range(0, len(runs) if together > 1 else 0, together):
            self._side_by_side(oracle, nearest, x, y, runs[first : first + together], threat)
        for restart in range(0 if together == 1 else 1, self.restarts):
            for classes_of_run in runs:
                point = x if restart == 0 else self._random_start(x, nearest, threat, rng)
                before = nearest.distance.clone()
                self._run(oracle, nearest, point, x, y, classes_of_run, threat)
                self._improve(nearest, before)
        return nearest.point

    def _side_by_side(
        self, oracle: Oracle, nearest: Nearest, x: Tensor, y: Tensor, runs: list[Tensor | None], threat: ThreatModel
    ) -> None:
        """First runs as rows of one batch; what each found is taken in order, so that nothing comes out but what they say."""
        with oracle.among(torch.arange(len(x), device=x.device).repeat(len(runs))):
            several = x.repeat(len(runs), *[1] * (x.dim() - 1)), y.repeat(len(runs))
            lanes = Nearest(oracle, *several, threat)
            towards = torch.cat([classes for classes in runs if classes is not None])
            self._run(oracle, lanes, several[0], *several, towards, threat)
        for place in range(len(runs)):
            before = nearest.distance.clone()
            nearest.take(lanes, slice(place * len(x), (place + 1) * len(x)))
            self._improve(nearest, before)

    def _improve(self, nearest: Nearest, before: Tensor) -> None:
        """After each run and not at the end, for the next run has to beat what this one leads to."""
        nearer = nearest.distance < before
        nearest.turn(self.search, nearer)
        nearest.approach(self.search, nearer)

    def _run(
        self, oracle: Oracle, nearest: Nearest, point: Tensor, x: Tensor, y: Tensor, classes: Tensor | None, threat: ThreatModel
    ) -> None:
        norm, box = threat.norm, threat.box
        for _ in range(self.steps):
            f, w = boundary(oracle, point, y, classes, threat)
            from_x = (w * (point - x)).flatten(1).sum(1) - f  # what w . step must be for the boundary to be reached from x
            pair = step_to_plane(torch.cat([point, x]), w.repeat(2, *[1] * (w.dim() - 1)), torch.cat([-f, from_x]), norm, box)
            d_point, d_x = pair.chunk(2)
            near, far = length(d_point, norm), length(d_x, norm)
            a = columns((near / (near + far).clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(self.alpha), x)
            point = ((1.0 - a) * (point + self.eta * d_point) + a * (x + self.eta * d_x)).clamp_(*box)
            adversarial = nearest.note(point, oracle.logits(point))
            back = torch.where(adversarial, self.beta, 1.0)
            point = (x + columns(back, x) * (point - x)).clamp_(*box)

    def _random_start(self, x: Tensor, nearest: Nearest, threat: ThreatModel, rng: Streams) -> Tensor:
        noise = rng.uniform(x.shape[1:], -1.0, 1.0) if threat.norm == "linf" else rng.normal(x.shape[1:])
        most = FARTHEST_START[threat.norm] * (threat.box[1] - threat.box[0])
        radius = nearest.distance.clamp_max(most) / 2.0 / length(noise.to(x), threat.norm)
        return (x + columns(radius, x) * noise.to(x)).clamp_(*threat.box)
