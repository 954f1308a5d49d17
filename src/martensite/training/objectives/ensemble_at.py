"""Ensemble adversarial training: adversarials from held models beside those from the model itself.

Tramer et al. 2018, "Ensemble adversarial training: attacks and defenses", arXiv:1705.07204, sec. 3.4: a model that makes its own
adversarials learns to make bad ones; those of models that training can't change keep it honest, above all against transfer.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.errors import ConfigError, ModelError
from martensite.core.registry import member_of
from martensite.models import Classifier, probe
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, Passes, check_attack, times
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
        ConfigError: when training begins: it has no surrogate.
    """

    kind: Literal["ensemble_at"] = "ensemble_at"
    mix: float = Field(default=0.5, ge=0.0, lt=1.0)
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)
    own: float | None = Field(default=None, ge=0.0, lt=1.0)

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """See `Objective.check`; there are surrogates, and each takes what the model takes and knows its classes."""
        super().check(model, threat, x, surrogates)
        self._refuse_none(surrogates)
        for number, held in enumerate(surrogates, start=1):
            try:
                probe(held, x)
            except ModelError as error:
                raise ModelError(f"surrogate {number}: {error.value}", error.rule, error.remedy) from None
            if (held.classes, held.device) != (model.classes, model.device):
                theirs, ours = (f"{one.classes} classes on {one.device}" for one in (held, model))
                raise ModelError(
                    f"surrogate {number} has {theirs} and the model in training {ours}",
                    "adversarials are made on either, from the same inputs and labels",
                    "hold another model, or bring it to the same device with .to()",
                )
            check_attack(self.attack, held, threat, x)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The attack's, on a model drawn for this batch."""
        held = context.surrogates
        self._refuse_none(held)
        own = 1.0 / (1 + len(held)) if self.own is None else self.own
        # The batch's first sample lends its stream.
        level = float(context.rng.fork("ensemble_at").uniform((1,))[0])
        drawn = None if level < own else held[min(int((level - own) / (1.0 - own) * len(held)), len(held) - 1)]
        return context.attack(self.attack, x, y, model=drawn)

    def search_passes(self, n: int) -> Passes | None:
        """See `Objective.search_passes`; a surrogate's passes count as the model's own."""
        return times(n, self.attack.passes)

    @staticmethod
    def _refuse_none(surrogates: Sequence[Classifier]) -> None:
        if not surrogates:
            raise ConfigError(
                "ensemble_at has no surrogates", "some adversarials are made on models that training can't change",
                "give harden(..., surrogates=[...]), or --surrogate MODEL",
            )  # fmt: skip
