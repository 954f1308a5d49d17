"""Label leaking: the model reads the label off the perturbation, and is better on single-step adversarials than on clean inputs.

Kurakin, Goodfellow and Bengio 2017, "Adversarial machine learning at scale", arXiv:1611.01236, sec. 4.4.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import NonNegativeFloat

from martensite.training.guards.guard import GUARDS, Figures, Guard, Remedy


@GUARDS.register
class LabelLeaking(Guard):
    """Objects when single-step accuracy exceeds clean accuracy.

    Args:
        margin: By how much it may, in accuracy: the probe is small.
    """

    kind: Literal["label_leaking"] = "label_leaking"
    margin: NonNegativeFloat = 0.03

    @property
    def remedy(self) -> Remedy:
        """See `Guard.remedy`."""
        return Remedy(level=1)

    def complaint(self, trace: Sequence[Figures]) -> str:
        """See `Guard.complaint`."""
        now = trace[-1]
        if now.single_step is None or now.single_step <= now.clean + self.margin:
            return ""
        return f"accuracy is {now.single_step:.3f} under one step and {now.clean:.3f} on clean inputs: label leaking"
