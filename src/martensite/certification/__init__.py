"""Certification: which inputs no attack can change."""

from martensite.certification.ablation import Ablation
from martensite.certification.bounded import Bounded
from martensite.certification.certifier import ABSTAIN, CERTIFIERS, CertificateRecord, Certificates, Certifier, Job, certify
from martensite.certification.interval_bounds import IntervalBounds
from martensite.certification.linear_bounds import LinearBounds
from martensite.certification.patch import PatchSmoothing
from martensite.certification.predict import SmoothedPrediction, predict
from martensite.certification.sampled import Sampled
from martensite.certification.smoothing import Smoothing
from martensite.certification.smoothing_l1 import UniformSmoothing

__all__ = [
    "ABSTAIN",
    "CERTIFIERS",
    "Ablation",
    "Bounded",
    "CertificateRecord",
    "Certificates",
    "Certifier",
    "IntervalBounds",
    "Job",
    "LinearBounds",
    "PatchSmoothing",
    "Sampled",
    "SmoothedPrediction",
    "Smoothing",
    "UniformSmoothing",
    "certify",
    "predict",
]
