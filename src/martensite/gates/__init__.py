"""Gates: thresholds and verdicts."""

from martensite.gates.thresholds import Thresholds

__all__ = ["Thresholds"]
