"""Guards: what watches over a training run, one a file."""

from martensite.training.guards.catastrophic_overfitting import CatastrophicOverfitting
from martensite.training.guards.clean_floor import CleanFloor
from martensite.training.guards.divergence import Divergence
from martensite.training.guards.guard import GUARDS, Figures, Guard, Remedy
from martensite.training.guards.guards import Guards
from martensite.training.guards.label_leaking import LabelLeaking

__all__ = [
    "GUARDS",
    "CatastrophicOverfitting",
    "CleanFloor",
    "Divergence",
    "Figures",
    "Guard",
    "Guards",
    "LabelLeaking",
    "Remedy",
]
