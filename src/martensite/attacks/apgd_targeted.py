"""Targeted APGD: towards each of the likeliest wrong classes in turn; success is any wrong class, or the one that was chosen.

Croce and Hein 2020, arXiv:2003.01690, sec. 4 and eq. 7 (the targeted difference of logits ratio).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.apgd import climb
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.lanes import Lanes, turns_at_once
from martensite.attacks.losses import Loss, dlr_towards
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel


@ATTACKS.register
class APGDTargeted(Attack):
    """APGD on the targeted DLR loss, over targets.

    Args:
        steps: Gradient steps a target.
        targets: How many classes are tried, by the clean logits; at most K - 1. A targeted goal leaves one.
        restarts: Rounds over all targets.
        rho: See `APGD`.
    """

    kind: Literal["apgd_targeted"] = "apgd_targeted"
    steps: PositiveInt = 100
    targets: PositiveInt = 9
    restarts: PositiveInt = 1
    rho: float = Field(default=0.75, gt=0.0, lt=1.0)

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Climb towards each target; who falls for one leaves before the next. Few samples go towards several of them at once."""
        search = Survivors(oracle, x, y, threat, rng)
        ranked = oracle.logits(x).scatter(1, y[:, None], float("-inf")).argsort(1, descending=True)
        # With a targeted goal y is the target, and the likeliest other class the one to leave.
        search.carried = ranked[:, : 1 if threat.goal == "targeted" else min(self.targets, oracle.model.classes - 1)]
        turns, size = search.carried.shape[1] * self.restarts, x[0].numel()
        while turns and len(search):
            count = turns_at_once(oracle, len(search), turns)
            if count == 1:
                self._climb(oracle, search, threat)
            else:
                with oracle.among(search.places.repeat(count)):
                    lanes = Lanes(oracle, search, threat, count, draws=size)
                    lanes.carried = torch.cat([search.carried.roll(-turn, 1) for turn in range(count)])
                    self._climb(oracle, lanes, threat)
                lanes.fold(search)
            search.carried, turns = search.carried.roll(-count, 1), turns - count
        return search.found

    def _climb(self, oracle: Oracle, search: Survivors, threat: ThreatModel) -> None:
        """One restart, each survivor towards the first of the classes it carries."""

        def towards() -> Loss:
            y, other = search.y, search.carried[:, 0]
            if threat.goal == "targeted":
                return lambda logits: dlr_towards(logits, other, y)
            return lambda logits: dlr_towards(logits, y, other)

        climb(oracle, search, towards, threat, self.steps, self.rho)
