"""Certification: which inputs no attack can change."""

from martensite.certification.certifier import ABSTAIN, CERTIFIERS, Certificates, Certifier, certify
from martensite.certification.smoothing import Smoothing

__all__ = ["ABSTAIN", "CERTIFIERS", "Certificates", "Certifier", "Smoothing", "certify"]
