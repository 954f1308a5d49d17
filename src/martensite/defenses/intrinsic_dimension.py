"""Local intrinsic dimension: how fast the number of neighbours grows with the distance; adversarials are said to have a high one.

Ma et al. 2018, "Characterizing adversarial subspaces using local intrinsic dimensionality", arXiv:1801.02613, eq. 4 (the maximum
likelihood estimate of Amsaleg et al. 2015), on the last layer's inputs. Adaptive attacks evade it: Athalye, Carlini and Wagner
2018, arXiv:1802.00420, sec. 5.2.1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.look import Look
from martensite.defenses.nearest_neighbours import distances, remembered
from martensite.models import Classifier


@DETECTORS.register
class IntrinsicDimension(Detector):
    """-1 / mean_i log(r_i / r_k), over the distances r_1 <= ... <= r_k to the k nearest reference samples.

    Args:
        k: Neighbours, at least 2.
        reference: Clean samples that are kept, at most.
    """

    kind: Literal["intrinsic_dimension"] = "intrinsic_dimension"
    k: int = Field(default=20, ge=2)
    reference: PositiveInt = 1000

    reads: ClassVar = "features"
    learns: ClassVar = True

    def learn(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator) -> State:
        """The features of a random choice of samples.

        Raises:
            DataError: fewer samples than k.
        """
        return {"features": remembered(model, x, self.reference, self.k, rng)}

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        near = distances(look.features.float(), state["features"], self.k).log()
        return -1.0 / (near - near[:, -1:]).mean(1).clamp_max(-1e-6)
