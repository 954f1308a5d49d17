"""CLEVER: an estimate of the distance to the nearest adversarial, by extreme values of local gradients. It proves nothing.

Weng et al. 2018, "Evaluating the robustness of neural networks: an extreme value theory approach", arXiv:1801.10578, algorithms 1
and 2: by Theorem 3.2 an input is safe within min_j (f_c(x) - f_j(x)) / L_j, L_j being the local Lipschitz constant of that gap.
The largest gradient norm in each batch of random points follows a reverse Weibull distribution, whose location is L_j.
"""

from statistics import fmean, median

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import ThreatError
from martensite.core.rng import streams
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel

FLAT = 1e-6  # relative spread of the maxima below which there is no distribution to fit: the gap is linear


class Clever(Config):
    """How many CLEVER scores a suite measures, and from how much.

    Args:
        batches: See `clever`.
        samples: See `clever`.
        limit: Scores: of the first so many samples that are correct. Each costs batches * samples passes a class.
        radius: In which gradients are looked at, in multiples of the threat model's eps, never wider than the box: no score is
            larger, so one of eps itself would say nothing of models that withstand it.
    """

    batches: PositiveInt = 10
    samples: PositiveInt = 32
    limit: PositiveInt = 20
    radius: PositiveFloat = 3.0


class CleverSummary(Config):
    """CLEVER scores of some samples: estimates of distances to the nearest adversarial, never a bound.

    Attributes:
        radius: In which gradients were looked at; no score is larger.
        scores: One a sample, of the first ones that are correct, in the threat model's norm.
        mean: Of them.
        median: Of them.
    """

    radius: float
    scores: tuple[float, ...]
    mean: float
    median: float


def clever_summary(plan: Clever, model: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seed: int) -> CleverSummary:
    """Scores of samples (n, *d), (n,) that are correct.

    Raises:
        ThreatError: L0.
    """
    wide = threat.at(min(plan.radius * threat.eps, threat.ball.diameter(x[0].numel(), threat.box)))
    scores = clever(model, x, y, wide, batches=plan.batches, samples=plan.samples, seed=seed).tolist()
    return CleverSummary(radius=wide.eps, scores=tuple(scores), mean=fmean(scores), median=median(scores))


def clever(
    model: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, *, batches: int = 50, samples: int = 100, seed: int = 0
) -> Tensor:
    """Scores (n,) float64 in the threat model's norm, at most its eps (the radius in which gradients are looked at).

    Args:
        model: The model.
        x: (n, *d) inputs.
        y: (n,) labels; a misclassified sample scores 0.
        threat: Norm, radius and box.
        batches: Of points, one maximum each (N_b).
        samples: Points a batch (N_s).
        seed: Of the points.

    Raises:
        ThreatError: L0, which has no dual norm.
    """
    if threat.norm == "l0":
        raise ThreatError("clever does not support l0", "CLEVER needs a dual norm", "use linf, l2 or l1")
    scores = torch.zeros(len(x), dtype=torch.float64)
    with undisturbed(model):
        for place in range(len(x)):
            clean = x[place : place + 1].to(model.device, model.dtype)
            right = int(y[place])
            logits = model(clean).detach().double()[0]
            gaps = torch.stack([logits[right] - logits[k] for k in range(model.classes) if k != right])
            if float(gaps.min()) <= 0:
                continue
            many = clean.expand(samples, *clean.shape[1:])
            maxima = torch.zeros(batches, len(gaps), dtype=torch.float64)
            for batch in range(batches):
                points = threat.random_start(many, streams(seed, f"clever/{place}/{batch}", samples))
                maxima[batch] = _norms(model, points, right, threat).amax(0)
            bounds = torch.stack([gap / _location(maxima[:, k]) for k, gap in enumerate(gaps)])
            scores[place] = min(float(bounds.min()), threat.eps)
    return scores


def _norms(model: Classifier, points: Tensor, right: int, threat: ThreatModel) -> Tensor:
    """(m, K - 1) dual norms of the gradients of the gaps to each other class."""
    leaf = points.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model(leaf)
        found = []
        for k in range(model.classes):
            if k != right:
                (gradient,) = torch.autograd.grad((logits[:, right] - logits[:, k]).sum(), leaf, retain_graph=True)
                found.append(torch.linalg.vector_norm(gradient.flatten(1).double(), ord=_dual(threat), dim=1))
    return torch.stack(found, 1)


def _dual(threat: ThreatModel) -> float:
    return {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[threat.norm]


def _location(maxima: Tensor) -> float:
    """Location of the reverse Weibull distribution of these maxima, at least the largest of them."""
    largest = float(maxima.max())
    if largest - float(maxima.min()) <= FLAT * largest:
        return max(largest, 1e-300)
    from scipy.stats import weibull_max  # slow to load

    _, location, _ = weibull_max.fit(maxima.numpy(), loc=largest)
    return max(float(location), largest)
