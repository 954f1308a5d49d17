"""Distance to the k-th nearest clean sample, among normalised features. An out-of-distribution score, too.

Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors", arXiv:2204.06507, eq. 2; against adversarial
examples Papernot and McDaniel 2018, "Deep k-nearest neighbors", arXiv:1803.04765, which adaptive attacks evade (Sitawarin
and Wagner 2019, arXiv:1903.08333).
"""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from martensite.core.errors import DataError
from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.features import gathered
from martensite.defenses.look import Look
from martensite.models import Classifier


@DETECTORS.register
class NearestNeighbours(Detector):
    """The L2 distance to the k-th nearest of the reference samples; features have length 1.

    Args:
        k: Which neighbour.
        reference: Clean samples that are kept, at most; each costs a distance an input.
    """

    kind: Literal["nearest_neighbours"] = "nearest_neighbours"
    k: PositiveInt = 10
    reference: PositiveInt = 2000

    reads: ClassVar = "features"
    learns: ClassVar = True

    def learn(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator) -> State:
        """The features of a random choice of samples.

        Raises:
            DataError: fewer samples than k.
        """
        return {"features": normalize(remembered(model, x, self.reference, self.k, rng))}

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        return distances(normalize(look.features.float()), state["features"], self.k)[:, -1]


def remembered(model: Classifier, x: Tensor, most: int, k: int, rng: torch.Generator) -> Tensor:
    """(m, f) float32 features of at most so many inputs (n, *d), chosen at random.

    Raises:
        DataError: fewer samples than k.
    """
    chosen = torch.randperm(len(x), generator=rng)[:most]
    if len(chosen) < k:
        raise DataError(f"{len(chosen)} samples for k = {k}", "so many neighbours there must be", "give more, or a smaller k")
    return gathered(model, x[chosen.to(x.device)]).float()


def distances(features: Tensor, reference: Tensor, k: int) -> Tensor:
    """(n, k) the L2 distances of features (n, f) to the k nearest of the reference (m, f), rising; differentiable."""
    # The nearest are found by a matrix product; their distances are then taken exactly, as a difference of large numbers isn't.
    with torch.no_grad():
        far = reference.square().sum(1) - 2.0 * features @ reference.T
        nearest = far.topk(k, dim=1, largest=False).indices
    gaps = features[:, None] - reference[nearest]
    return (gaps.square().sum(2) + 1e-12).sqrt().sort(1).values
