"""Clean floor: robustness is not bought with more clean accuracy than the user gives."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, NonNegativeFloat

from martensite.training.guards.guard import GUARDS, Figures, Guard


@GUARDS.register
class CleanFloor(Guard):
    """Objects when clean accuracy falls below a floor, and keeps the best weights to those above it.

    It is for hardening a trained model: a floor above the accuracy that training starts from is refused.

    Args:
        floor: Least clean accuracy, in (0, 1).
        margin: By how much the probe may fall short, as it is small; the best weights are judged on all validation data.
    """

    kind: Literal["clean_floor"] = "clean_floor"
    floor: float = Field(gt=0.0, lt=1.0)
    margin: NonNegativeFloat = 0.02

    def complaint(self, trace: Sequence[Figures]) -> str:
        """See `Guard.complaint`."""
        now = trace[-1]
        if now.clean >= self.floor - self.margin:
            return ""
        return f"clean accuracy is {now.clean:.3f}, under the floor of {self.floor:g}"
