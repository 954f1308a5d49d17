"""Defences at inference: input transforms, ensembles, smoothed prediction, detectors, input validation."""

from martensite.defenses.bit_depth import BitDepth
from martensite.defenses.defence import Defence
from martensite.defenses.defend import defend
from martensite.defenses.defended import Defended
from martensite.defenses.detector import DETECTORS, Detector, Fitted
from martensite.defenses.energy import Energy
from martensite.defenses.ensemble import Ensemble, join, members_of
from martensite.defenses.evasion import Evasion
from martensite.defenses.feature_squeezing import FeatureSqueezing
from martensite.defenses.gaussian import Gaussian
from martensite.defenses.intrinsic_dimension import IntrinsicDimension
from martensite.defenses.jpeg import JPEG
from martensite.defenses.learned import Learned
from martensite.defenses.mahalanobis import Mahalanobis
from martensite.defenses.masking import masked
from martensite.defenses.median import Median
from martensite.defenses.nearest_neighbours import NearestNeighbours
from martensite.defenses.panel import Panel, holm
from martensite.defenses.resize_pad import ResizePad
from martensite.defenses.response import Decision, Response
from martensite.defenses.rules import InputRules
from martensite.defenses.squeezing import Squeezing
from martensite.defenses.total_variation import TotalVariation
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.defenses.voting import Voting

__all__ = [
    "DETECTORS",
    "JPEG",
    "TRANSFORMS",
    "BitDepth",
    "Decision",
    "Defence",
    "Defended",
    "Detector",
    "Energy",
    "Ensemble",
    "Evasion",
    "FeatureSqueezing",
    "Fitted",
    "Gaussian",
    "InputRules",
    "IntrinsicDimension",
    "Learned",
    "Mahalanobis",
    "Median",
    "NearestNeighbours",
    "Panel",
    "ResizePad",
    "Response",
    "Squeezing",
    "TotalVariation",
    "Transform",
    "Voting",
    "defend",
    "holm",
    "join",
    "masked",
    "members_of",
]
