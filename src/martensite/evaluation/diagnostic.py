"""A diagnostic: something that bears on how far a figure can be trusted, with its evidence and what to do about it."""

from typing import Literal

from martensite.core.config import Config

Severity = Literal["note", "warning", "invalid"]


class Diagnostic(Config):
    """One finding.

    Attributes:
        name: Which check found it, e.g. ``"fgsm_beats_pgd"``.
        severity: ``"invalid"``: the figures decide nothing while it stands; ``"warning"``: they may be off; ``"note"``: good to
            know.
        evidence: What was observed, with the numbers.
        remedy: What to do.
    """

    name: str
    severity: Severity
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} ({self.severity}): {self.evidence}; {self.remedy}"
