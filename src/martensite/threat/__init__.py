"""What an adversary may do: norms, balls, boxes, and the geometry that attacks share."""

from martensite.threat.ball import Ball
from martensite.threat.model import BALLS, Norm, ThreatModel

__all__ = ["BALLS", "Ball", "Norm", "ThreatModel"]
