"""Feature-squeezing distance: how far the answer moves when the input is squeezed.

Xu, Evans and Qi 2018, "Feature squeezing: detecting adversarial examples in deep neural networks", NDSS, arXiv:1704.01155,
sec. V, eq. 1. Adaptive attacks evade it: He et al. 2017, arXiv:1706.04701.
"""

from typing import Annotated, Literal

import torch
from pydantic import field_validator
from torch import Tensor

from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.core.rng import streams
from martensite.defenses.bit_depth import BitDepth
from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.look import Look
from martensite.defenses.median import Median
from martensite.defenses.transform import TRANSFORMS, Transform


@DETECTORS.register
class Squeezing(Detector):
    """The largest L1 distance between the class probabilities of the input and of a squeezed one.

    Args:
        squeezers: Transforms that leave clean inputs' answers as they are; none may be random.
    """

    kind: Literal["squeezing"] = "squeezing"
    squeezers: tuple[Annotated[Transform, member_of(TRANSFORMS)], ...] = (BitDepth(bits=1), Median(size=2))

    @field_validator("squeezers")
    @classmethod
    def _fixed(cls, value: tuple[Transform, ...]) -> tuple[Transform, ...]:
        if not value or any(one.random for one in value):
            raise ConfigError(
                f"squeezers are {', '.join(map(str, value)) or 'none'}",
                "at least one is needed and none may be random",
                "e.g. median",
            )
        return value

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        plain, rng = look.logits.softmax(1), streams(0, "squeezing", len(look.x)).to(look.x.device)
        squeezed = [look.model(one.through(look.x, look.model.box, rng)).softmax(1) for one in self.squeezers]
        return torch.stack([(plain - other).abs().sum(1) for other in squeezed]).amax(0)
