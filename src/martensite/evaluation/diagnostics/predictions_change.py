"""The same input gets another answer at the next pass: a single pass is broken by luck."""

from martensite.evaluation.answers import answers
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence

CHANGE = 1e-3  # of the logits' spread: more than batching changes in float32


def predictions_change(evidence: Evidence) -> Diagnostic | None:
    """Clean inputs asked about a second time; judged by many draws (EOT), randomness is no fault."""
    again = answers(evidence.model, evidence.data.x)
    spread = float((evidence.logits.amax(1) - evidence.logits.amin(1)).abs().mean()) or 1.0
    flipped = int((again.argmax(1) != evidence.logits.argmax(1)).sum())
    moved = int(((again - evidence.logits).abs().amax(1) > CHANGE * spread).sum())
    if not flipped and not moved:
        return None
    prepared = all(one.method.jury.draws > 1 for one in evidence.tally.judging)
    return Diagnostic(
        name="predictions_change",
        severity="note" if prepared else "invalid",
        evidence=f"asked again about {len(again)} clean inputs, the model changed its logits on {moved}, its class on {flipped}",
        remedy="every figure is over many draws" if prepared else "use attacks over expectation: eot, or autoattack version rand",
    )
