"""Training: one loop, one objective a file."""

from martensite.training import objectives
from martensite.training.harden import harden, train
from martensite.training.loop import Epoch, TrainingResult, fit
from martensite.training.objective import OBJECTIVES, LossParts, Objective
from martensite.training.settings import TrainingSettings

__all__ = [
    "OBJECTIVES",
    "Epoch",
    "LossParts",
    "Objective",
    "TrainingResult",
    "TrainingSettings",
    "fit",
    "harden",
    "objectives",
    "train",
]
