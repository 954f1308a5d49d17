"""Attestations: what is claimed of a model, and by whom. Needs the extra ``evidence``."""

from martensite.artifacts.attest.build import predicate_of
from martensite.artifacts.attest.claims import Claim, acceptable, append_claim, make_claim, read_claims
from martensite.artifacts.attest.predicates import KINDS, Predicate, Serving, Verdict
from martensite.artifacts.attest.subject import Subject

__all__ = [
    "KINDS",
    "Claim",
    "Predicate",
    "Serving",
    "Subject",
    "Verdict",
    "acceptable",
    "append_claim",
    "make_claim",
    "predicate_of",
    "read_claims",
]
