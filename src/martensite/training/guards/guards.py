"""Which guards watch a run, how often, and on what."""

from typing import Annotated

from pydantic import NonNegativeInt, PositiveInt

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.config import Config
from martensite.core.registry import member_of
from martensite.training.guards.catastrophic_overfitting import CatastrophicOverfitting
from martensite.training.guards.clean_floor import CleanFloor
from martensite.training.guards.divergence import Divergence
from martensite.training.guards.guard import GUARDS, Guard
from martensite.training.guards.label_leaking import LabelLeaking


class Guards(Config):
    """The guards of a run.

    Args:
        watch: The guards, in the order in which they are heard.
        every: Batches from one check to the next; None: a check at the end of every epoch.
        samples: Of the probe, taken from the validation data.
        attack: What robust accuracy on the probe is measured with, where it supports the norm.
        recoveries: How often the run goes back to its last good state before it stops.
    """

    watch: tuple[Annotated[Guard, member_of(GUARDS)], ...] = (Divergence(), CatastrophicOverfitting(), LabelLeaking())
    every: PositiveInt | None = None
    samples: PositiveInt = 128
    attack: Annotated[Attack, member_of(ATTACKS)] = PGD(steps=10)
    recoveries: NonNegativeInt = 3

    @property
    def floor(self) -> float:
        """The highest floor of clean accuracy among the guards; 0 if there is none."""
        return max((guard.floor for guard in self.watch if isinstance(guard, CleanFloor)), default=0.0)
