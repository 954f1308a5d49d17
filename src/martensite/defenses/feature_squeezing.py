"""Feature squeezing as a transform: fewer bits, then a small median.

Xu, Evans and Qi 2018, "Feature squeezing: detecting adversarial examples in deep neural networks", NDSS, arXiv:1704.01155,
sec. III. Adaptive attacks break it: He et al. 2017, "Adversarial example defenses: ensembles of weak defenses are not strong",
arXiv:1706.04701.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from martensite.core.rng import Streams
from martensite.defenses.bit_depth import BitDepth
from martensite.defenses.median import Median
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.threat.ball import Box


@TRANSFORMS.register
class FeatureSqueezing(Transform):
    """`BitDepth`, then `Median`.

    Args:
        bits: Of a value.
        size: Side of the median's window, in pixels.
    """

    kind: Literal["feature_squeezing"] = "feature_squeezing"
    bits: int = Field(default=4, ge=1, le=16)
    size: int = Field(default=2, ge=2, le=15)

    differentiable: ClassVar = False

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """See `Transform.apply`."""
        return Median(size=self.size).apply(BitDepth(bits=self.bits).apply(x, box, rng), box, rng)

    def surrogate(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """The median alone."""
        return Median(size=self.size).apply(x, box, rng)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """As `Median` has it."""
        Median(size=self.size).check_shape(shape)
