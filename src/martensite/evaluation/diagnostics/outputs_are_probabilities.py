"""Probabilities where logits are needed: losses saturate."""

from martensite.attacks.trust import probabilities
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence
from martensite.models import Access


def outputs_are_probabilities(evidence: Evidence) -> Diagnostic | None:
    """Outputs that are never negative and sum to one, of a model that is attacked by gradients."""
    if evidence.model.access < Access.GRADIENTS or not probabilities(evidence.logits):
        return None
    return Diagnostic(
        name="outputs_are_probabilities",
        severity="warning",
        evidence=f"on all {len(evidence.logits)} clean inputs no output is negative and each sample's sum is 1",
        remedy="return the logits, without the softmax",
    )
