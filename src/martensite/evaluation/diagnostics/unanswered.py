"""Clean inputs that a model left open: errors, which count against every figure."""

from martensite.evaluation.answers import Answered
from martensite.evaluation.diagnostic import Diagnostic
from martensite.models.patience import said


def open_questions(clean: Answered) -> tuple[Diagnostic, ...]:
    """A warning, if some were not answered."""
    if not clean.failures:
        return ()
    return (
        Diagnostic(
            name="unanswered",
            severity="warning",
            evidence=f"of {len(clean.known)} samples, {said(list(clean.failures))}",
            remedy="they are errors: never robust, and in the denominator of every rate; find out why, and evaluate again",
        ),
    )
