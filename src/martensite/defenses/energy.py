"""Energy: how little all logits together say for any class. An out-of-distribution score, too.

Liu et al. 2020, "Energy-based out-of-distribution detection", arXiv:2010.03759, eq. 4.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor

from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.look import Look


@DETECTORS.register
class Energy(Detector):
    """-T log sum_k exp(z_k / T).

    Args:
        temperature: T.
    """

    kind: Literal["energy"] = "energy"
    temperature: PositiveFloat = 1.0

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        scaled = look.logits.double() / self.temperature
        # log softmax_k = z_k - log sum exp z, for any k; in a small batch each operation counts.
        return self.temperature * (scaled.log_softmax(1)[:, 0] - scaled[:, 0])
