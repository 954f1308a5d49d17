"""What minimal distances say in one number: medians, means, empirical robustness."""

from math import inf, isfinite
from statistics import fmean

import torch
from torch import Tensor

from martensite.core.config import Config
from martensite.evaluation.rate import CurvePoint
from martensite.threat import Norm, ThreatModel

AT_ONCE = 1000  # inputs: memory must not grow with their number


class DistanceSummary(Config):
    """Distances of the nearest adversarials of the samples that are correct without an attack.

    A figure is None where it would be a guess: a mean over those that were found would leave out the most robust ones.

    Attributes:
        n: Samples that are correct.
        found: Of them, those for which an adversarial was found at any distance.
        median: None if none was found for half of them.
        mean: None unless one was found for all.
        empirical_robustness: Mean of distance / norm of the input (Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool",
            arXiv:1511.04599, eq. 2 in sec. 2), over the samples that are correct; None unless one was found for all.
    """

    n: int
    found: int
    median: float | None
    mean: float | None
    empirical_robustness: float | None


class NormRow(Config):
    """One norm.

    Attributes:
        norm: Which.
        attack: The configuration of the search for the nearest.
        minimal: Distances in this norm.
        curve: Accuracy over eps, as far as this one search knows: an upper bound, checked by no other attack.
        errors: Samples that it could not be run on.
    """

    norm: Norm
    attack: dict[str, object]
    minimal: DistanceSummary
    curve: tuple[CurvePoint, ...]
    errors: int = 0


def summarise_distances(nearest: Tensor, correct: Tensor, x: Tensor, threat: ThreatModel) -> DistanceSummary:
    """Summarise distances (n,), infinite where no adversarial was found, of inputs (n, *d)."""
    values = nearest[correct].tolist()
    norms = [norm for rows in torch.split(correct.nonzero().flatten(), AT_ONCE) for norm in _norms(x[rows], threat)]
    whole = bool(values) and all(map(isfinite, values))
    middle = _median(values)
    ratios = [value / norm for value, norm in zip(values, norms, strict=True) if norm > 0]
    return DistanceSummary(
        n=len(values),
        found=sum(map(isfinite, values)),
        median=middle if isfinite(middle) else None,
        mean=fmean(values) if whole else None,
        empirical_robustness=fmean(ratios) if whole and ratios else None,
    )


def _norms(x: Tensor, threat: ThreatModel) -> list[float]:
    found: list[float] = threat.distance(torch.zeros_like(x), x).double().tolist()
    return found


def _median(values: list[float]) -> float:
    ranked = sorted(values)
    if not ranked:
        return inf
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return (low + high) / 2
