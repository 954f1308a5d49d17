"""What a defended model answers to a batch."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Decision = Literal["answer", "flagged", "abstained"]


@dataclass(frozen=True, eq=False)
class Response:
    """One answer a sample.

    Attributes:
        logits: (n, K) of the defended model.
        prediction: (n,) int64, the likeliest class, also where it should not be believed.
        flagged: (n,) bool: the detectors' alarm rings.
        abstained: (n,) bool: the vote was too close.
        p_value: (n,) float64 of all detectors together, Holm's; None without detectors.
        names: Of the m detectors.
        each_p: (n, m) each detector's own p-value, not corrected.
        each_score: (n, m) float64 each detector's suspicion.
    """

    logits: Tensor
    prediction: Tensor
    flagged: Tensor
    abstained: Tensor
    p_value: Tensor | None
    names: tuple[str, ...]
    each_p: Tensor
    each_score: Tensor

    @property
    def p_values(self) -> dict[str, Tensor]:
        """Each detector's own (n,), not corrected."""
        return dict(zip(self.names, self.each_p.T, strict=True))

    @property
    def scores(self) -> dict[str, Tensor]:
        """Each detector's suspicion (n,)."""
        return dict(zip(self.names, self.each_score.T, strict=True))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One a sample; flagged before abstained."""
        pairs = zip(self.flagged.tolist(), self.abstained.tolist(), strict=True)
        return tuple("flagged" if flagged else "abstained" if abstained else "answer" for flagged, abstained in pairs)
