"""Training: one loop, one objective a file."""

from martensite.training import augmentations, guards, objectives
from martensite.training.averaging import EMA, SWA
from martensite.training.harden import harden, train
from martensite.training.ledger import Cost
from martensite.training.logs import LOGS, Log
from martensite.training.loop import fit
from martensite.training.objective import OBJECTIVES, LossParts, Objective
from martensite.training.ramp import Ramp
from martensite.training.recipe import Phase, Recipe, load_recipe
from martensite.training.result import Epoch, Recovery, TrainingResult
from martensite.training.settings import TrainingSettings

__all__ = [
    "EMA",
    "LOGS",
    "OBJECTIVES",
    "SWA",
    "Cost",
    "Epoch",
    "Log",
    "LossParts",
    "Objective",
    "Phase",
    "Ramp",
    "Recipe",
    "Recovery",
    "TrainingResult",
    "TrainingSettings",
    "augmentations",
    "fit",
    "guards",
    "harden",
    "load_recipe",
    "objectives",
    "train",
]
