"""Catastrophic overfitting: the model has learnt to withstand one gradient step, and nothing else.

Wong, Rice and Kolter 2020, "Fast is better than free", arXiv:2001.03994, sec. 5.4, found it; Andriushchenko and Flammarion 2020,
arXiv:2007.02617, explain it by gradients that turn within the ball and cure it by aligning them.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from martensite.training.guards.guard import GUARDS, Figures, Guard, Remedy


@GUARDS.register
class CatastrophicOverfitting(Guard):
    """Objects when accuracy under one step is high while accuracy under many has collapsed.

    A model without any defence falls to one step already, and a robust one withstands many: neither is taken for the other.

    Args:
        high: Share of the clean accuracy from which single-step accuracy is high.
        collapsed: Share of the single-step accuracy below which robust accuracy has collapsed.
        cure: ``"steps"``: more and shorter attack steps; ``"gradalign"``: a penalty on gradients that turn.
        weight: Of that penalty.
    """

    kind: Literal["catastrophic_overfitting"] = "catastrophic_overfitting"
    high: float = Field(default=0.6, gt=0.0, le=1.0)
    collapsed: float = Field(default=0.5, gt=0.0, lt=1.0)
    cure: Literal["steps", "gradalign"] = "steps"
    weight: float = Field(default=0.2, gt=0.0)

    @property
    def remedy(self) -> Remedy:
        """See `Guard.remedy`."""
        return Remedy(level=1) if self.cure == "steps" else Remedy(gradalign=self.weight)

    def complaint(self, trace: Sequence[Figures]) -> str:
        """See `Guard.complaint`."""
        now = trace[-1]
        if now.single_step is None or now.robust is None or not now.finite or now.clean <= now.chance:
            return ""
        if now.single_step < self.high * now.clean or now.robust >= self.collapsed * now.single_step:
            return ""
        return f"accuracy is {now.single_step:.3f} under one step and {now.robust:.3f} under many: catastrophic overfitting"
