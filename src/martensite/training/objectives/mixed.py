"""Diversified adversarial training: several attacks, each for its share of the batch.

Training against one attack leaves a model open to others; to average over them is a remedy of Tramer and Boneh 2019, "Adversarial
training and robustness for multiple perturbations", arXiv:1904.13000, sec. 4.1 ("avg"): here at the cost of one.
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes, times
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class Mixed(Mixture):
    """Each sample meets one attack; which one is as random as the order of the epoch.

    Args:
        mix: Share of the clean loss, in [0, 1).
        attacks: Bounded attacks.
        weights: Shares of the batch, in any unit, one an attack; None: equal.

    Raises:
        ConfigError: not one weight an attack.
    """

    kind: Literal["mixed"] = "mixed"
    attacks: tuple[Annotated[Attack, member_of(ATTACKS)], ...] = Field(
        default=(PGD(steps=10), PGD(steps=10, loss="margin")), min_length=1
    )
    weights: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.attacks):
            raise ConfigError(
                f"{len(self.weights)} weights were given for {len(self.attacks)} attacks",
                "each attack has one",
                "or leave them out",
            )
        return self

    @property
    def searches(self) -> tuple[Attack, ...]:
        """See `Objective.searches`."""
        return self.attacks

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The first samples meet the first attack, and so on."""
        pairs = [pair for pair in zip(self.attacks, self._parts(len(x)), strict=True) if pair[1].stop > pair[1].start]
        return torch.cat([context.attack(method, x[part], y[part], part=part) for method, part in pairs])

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`."""
        each = [times(part.stop - part.start, method.passes) for method, part in zip(self.attacks, self._parts(n), strict=True)]
        known = [passes for passes in each if passes is not None]
        return (sum(f for f, _ in known), sum(b for _, b in known)) if len(known) == len(each) else None

    def _parts(self, n: int) -> list[slice]:
        """Consecutive parts of n samples in proportion to the weights, rounded so that they add up."""
        weights = self.weights or (1.0,) * len(self.attacks)
        ends = [round(n * sum(weights[: k + 1]) / sum(weights)) for k in range(len(weights))]
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
