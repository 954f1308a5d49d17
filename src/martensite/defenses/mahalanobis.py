"""Mahalanobis distance of the features from the nearest class. An out-of-distribution score, too.

Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples and adversarial attacks", arXiv:1807.03888,
eq. 1 and 2, on the last layer's inputs.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import linear

from martensite.core.errors import DataError
from martensite.defenses.detector import DETECTORS, Detector, State
from martensite.defenses.features import gathered
from martensite.defenses.look import Look
from martensite.models import Classifier


@DETECTORS.register
class Mahalanobis(Detector):
    """min_c (f - mu_c)' S^-1 (f - mu_c), with the class means mu_c and one covariance S for all.

    Args:
        ridge: Added to the covariance's diagonal, in units of its mean: features that never vary would make it singular.
    """

    kind: Literal["mahalanobis"] = "mahalanobis"
    ridge: float = Field(default=1e-3, gt=0.0, le=1.0)

    reads: ClassVar = "features"
    learns: ClassVar = True

    def learn(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator) -> State:
        """Class means and a triangular factor of the inverse covariance.

        Raises:
            DataError: a class without a sample.
        """
        features = gathered(model, x).double()
        present = [int((y == label).sum()) for label in range(model.classes)]
        if min(present) < 1:
            raise DataError(f"class {present.index(0)} has no sample", "each class needs its mean", "give more clean data")
        means = torch.stack([features[y == label].mean(0) for label in range(model.classes)])
        centred = features - means[y]
        covariance = centred.T @ centred / len(centred)
        floor = self.ridge * float(covariance.diagonal().mean().clamp_min(1e-12))
        covariance += floor * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        # S = L L', so that the distance is |L^-1 (f - mu)|^2.
        root = torch.linalg.cholesky(covariance)
        whitener = torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=root.dtype, device=root.device), upper=False)
        return {"means": (means @ whitener.T).float(), "whitener": whitener.float()}

    def prepare(self, state: State) -> State:
        """One product of matrices for all: |w - m_c|^2 = |w|^2 + (|m_c|^2 - 2 w m_c), both linear in the features but for |w|^2.

        w and m_c are taken from the middle of the means, so that it isn't a small difference of large numbers.
        """
        whitener, means = state["whitener"].double(), state["means"].double()
        middle = means.mean(0)
        means = means - middle
        weight = torch.cat([whitener, -2.0 * means @ whitener])
        bias = torch.cat([-middle, means.square().sum(1) + 2.0 * means @ middle])
        return {**state, "weight": weight.float(), "bias": bias.float()}

    def score(self, state: State, look: Look) -> Tensor:
        """See `Detector.score`."""
        found = linear(look.features.float(), state["weight"], state["bias"])
        f = len(state["whitener"])
        white = found[:, :f]
        nearest: Tensor = torch.linalg.vecdot(white, white) + found[:, f:].amin(1)
        return nearest
