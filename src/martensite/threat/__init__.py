"""What an adversary may do: norms, balls, boxes, constraints, and the geometry that attacks share."""

from martensite.threat.ball import Ball
from martensite.threat.constraints import Constraints
from martensite.threat.model import BALLS, Norm, ThreatModel
from martensite.threat.repair import Repair
from martensite.threat.violations import Violation, check_clean, violations

__all__ = ["BALLS", "Ball", "Constraints", "Norm", "Repair", "ThreatModel", "Violation", "check_clean", "violations"]
