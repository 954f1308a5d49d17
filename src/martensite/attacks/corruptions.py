"""Corruptions: the worst of the natural corruptions for each image.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations", arXiv:1903.12261.
What each does is in `natural`.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.natural import CORRUPTIONS, SMALLEST, Kind, corrupt
from martensite.attacks.oracle import Oracle
from martensite.attacks.worst import Candidate, worst_of
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import Box


@ATTACKS.register
class Corruptions(Attack):
    """The corrupted image that the model likes least.

    Success is against these corruptions, of images (C, H, W) only: the threat model's eps limits nothing, and its norm says what
    distance is reported. One kind alone gives the accuracy under that corruption.

    Args:
        kinds: Which are tried, one after the other.
        severity: 1 (least) to 5.
    """

    kind: Literal["corruptions"] = "corruptions"
    kinds: tuple[Kind, ...] = Field(default=CORRUPTIONS, min_length=1)
    severity: int = Field(default=3, ge=1, le=5)

    needs: ClassVar = Access.DECISIONS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1", "l0")
    ball: ClassVar[bool] = False

    def check_shape(self, shape: tuple[int, ...], threat: ThreatModel) -> None:
        """Images (C, H, W) only."""
        if len(shape) != 3 or min(shape[1:]) < SMALLEST:
            raise ThreatError(
                f"corruptions was given inputs of shape {shape}",
                f"it corrupts images (C, H, W) with sides of at least {SMALLEST}",
                "leave it out",
            )

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """The worst of the kinds, each drawn once."""
        self.check_shape(tuple(x.shape[1:]), threat)
        return worst_of(oracle, x, y, threat, rng, [self._candidate(kind, threat.box) for kind in self.kinds])

    def _candidate(self, kind: Kind, box: Box) -> Candidate:
        # A stream of its own for each kind: what is tried before it does not change its draws.
        return lambda x, rng: corrupt(x, kind, self.severity, rng.fork(kind), box)
