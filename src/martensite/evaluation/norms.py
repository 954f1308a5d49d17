"""Distances and security curves in norms other than the threat model's, by a minimum-norm attack, which needs no eps."""

from math import isfinite

import torch
from torch import Tensor

from martensite.data.dataset import Dataset
from martensite.evaluation.distances import NormRow, summarise_distances
from martensite.evaluation.rate import CurvePoint, Rate
from martensite.evaluation.tally import JobTally

GRID = 24  # points of a curve


def norm_row(tally: JobTally, correct: Tensor, data: Dataset) -> NormRow:
    """What a search for the nearest found in its norm, of the samples that are correct (n,) bool."""
    threat, method = tally.job.threat, tally.method
    nearest = torch.where(correct, tally.distance, 0.0)
    finite = sorted(value for value in nearest[correct].tolist() if isfinite(value))
    n = len(data)
    points = {0.0: int(correct.sum())}
    if finite:
        top = finite[int(0.95 * (len(finite) - 1))]
        points |= {top * step / GRID: int((correct & (nearest > top * step / GRID)).sum()) for step in range(1, GRID + 1)}
    return NormRow(
        norm=threat.norm,
        attack=method.model_dump(mode="json"),
        minimal=summarise_distances(nearest, correct, data.x, threat),
        curve=tuple(CurvePoint(eps=eps, accuracy=Rate.of(count, n)) for eps, count in sorted(points.items())),
        errors=int((tally.error & correct).sum()),
    )
