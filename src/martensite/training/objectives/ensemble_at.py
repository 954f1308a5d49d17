"""Ensemble adversarial training: adversarials from held models beside those from the model itself.

Tramer et al. 2018, "Ensemble adversarial training: attacks and defenses", arXiv:1705.07204, sec. 3.4: a model that makes its own
adversarials learns to make bad ones; those of models that training can't change keep it honest, above all against transfer.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes, times
from martensite.training.objectives.mixture import Mixture


@OBJECTIVES.register
class EnsembleAT(Mixture):
    """Each batch's adversarials are made on one model: the one in training, or one of the surrogates that the run was given.

    Configuration holds no models: give them to the run, ``harden(..., surrogates=[...])``.

    Args:
        mix: Share of the clean loss, in [0, 1).
        attack: What makes the adversarials; any bounded attack.
        own: Share of the batches whose adversarials are made on the model in training; None: as many as on each surrogate.

    Raises:
        ConfigError: training has no surrogate.
    """

    kind: Literal["ensemble_at"] = "ensemble_at"
    mix: float = Field(default=0.5, ge=0.0, lt=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)
    own: float | None = Field(default=None, ge=0.0, lt=1.0)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The attack's, on a model drawn for this batch."""
        held = context.surrogates
        if not held:
            raise ConfigError(
                "ensemble_at has no surrogates", "some adversarials are made on models that training can't change",
                "give harden(..., surrogates=[...]), or --surrogate MODEL",
            )  # fmt: skip
        own = 1.0 / (1 + len(held)) if self.own is None else self.own
        # The batch's first sample lends its stream.
        level = float(context.rng.fork("ensemble_at").uniform((1,))[0])
        drawn = None if level < own else held[min(int((level - own) / (1.0 - own) * len(held)), len(held) - 1)]
        return context.attack(self.attack, x, y, model=drawn)

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`; a surrogate's passes count as the model's own."""
        return times(n, self.attack.passes)
