"""Martensite: find out how a model breaks, harden it, prove what can be proved, ship it as evidence.

    import martensite as mt

Names are loaded when first used, so that the command line answers ``--help`` without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from martensite.core.lazy import on_demand

if TYPE_CHECKING:
    from martensite import attacks, certification, core, defenses, evaluation, models, threat
    from martensite.artifacts import load_bundle, save_bundle
    from martensite.artifacts.audit import audit
    from martensite.artifacts.scan import scan
    from martensite.attacks import attack
    from martensite.certification import certify
    from martensite.data import Dataset, load_data
    from martensite.defenses import defend
    from martensite.evaluation import RobustnessReport, evaluate
    from martensite.gates import Thresholds
    from martensite.models import BlackBox, Classifier, build
    from martensite.pipeline import Pipeline, run
    from martensite.threat import Constraints, ThreatModel
    from martensite.training import harden, objectives, train

__version__ = "0.1.0"

_HOMES = {
    "BlackBox": "martensite.models",
    "Classifier": "martensite.models",
    "Constraints": "martensite.threat",
    "Dataset": "martensite.data",
    "Pipeline": "martensite.pipeline",
    "RobustnessReport": "martensite.evaluation",
    "ThreatModel": "martensite.threat",
    "Thresholds": "martensite.gates",
    "attack": "martensite.attacks",
    "audit": "martensite.artifacts.audit",
    "build": "martensite.models",
    "certify": "martensite.certification",
    "defend": "martensite.defenses",
    "evaluate": "martensite.evaluation",
    "harden": "martensite.training",
    "load_bundle": "martensite.artifacts",
    "load_data": "martensite.data",
    "objectives": "martensite.training",
    "run": "martensite.pipeline",
    "save_bundle": "martensite.artifacts",
    "scan": "martensite.artifacts.scan",
    "train": "martensite.training",
}
_ROOMS = ("attacks", "certification", "core", "defenses", "evaluation", "models", "threat")

__all__ = [
    "BlackBox",
    "Classifier",
    "Constraints",
    "Dataset",
    "Pipeline",
    "RobustnessReport",
    "ThreatModel",
    "Thresholds",
    "__version__",
    "attack",
    "attacks",
    "audit",
    "build",
    "certification",
    "certify",
    "core",
    "defend",
    "defenses",
    "evaluate",
    "evaluation",
    "harden",
    "load_bundle",
    "load_data",
    "models",
    "objectives",
    "run",
    "save_bundle",
    "scan",
    "threat",
    "train",
]

_named = on_demand(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    return import_module(f"martensite.{name}") if name in _ROOMS else _named(name)


def __dir__() -> list[str]:
    return __all__
