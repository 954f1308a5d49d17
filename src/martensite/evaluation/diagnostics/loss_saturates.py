"""Cross-entropy that is zero to the last bit: its gradient is gone, and only losses on logits see the model."""

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence, by_gradients

SHARE = 0.1
ONLY_CE = ("ce", None)


def loss_saturates(evidence: Evidence) -> Diagnostic | None:
    """Correct samples whose probability is exactly 1 in float32."""
    correct = evidence.tally.correct
    logits = evidence.logits[correct]
    attacks = [one.method for one in evidence.tally.judging if by_gradients(one)]
    if not attacks or not len(logits):
        return None
    certain = int((logits.float().softmax(1).amax(1) == 1.0).sum())
    if certain <= SHARE * len(logits):
        return None
    alone = all(getattr(method, "loss", "other") in ONLY_CE for method in attacks)
    return Diagnostic(
        name="loss_saturates",
        severity="warning" if alone else "note",
        evidence=f"cross-entropy is exactly zero on {certain} of {len(logits)} correct samples",
        remedy="all attacks climb cross-entropy: add one with the loss margin or dlr" if alone else "other losses were climbed",
    )
