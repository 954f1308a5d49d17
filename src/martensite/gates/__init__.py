"""Gates: thresholds on a report, and policies on signed evidence (these need the extra ``evidence``)."""

from martensite.gates.thresholds import Thresholds

__all__ = ["Thresholds"]
