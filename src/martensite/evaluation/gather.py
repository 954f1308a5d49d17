"""The adversarials of an evaluation: of each broken sample the nearest that was found, in a file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save

from martensite.core.files import write_bytes
from martensite.data.dataset import Dataset
from martensite.evaluation.work import Measured, Piece


class Keeper(Protocol):
    """Looks at the pieces of an evaluation as they come in, and keeps some of their adversarials."""

    def take(self, piece: Piece, measured: Measured) -> None:
        """Look at what a piece brought."""


class Keepers:
    """Several as one."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self.keepers = keepers

    def take(self, piece: Piece, measured: Measured) -> None:
        """See `Keeper.take`."""
        for keeper in self.keepers:
            keeper.take(piece, measured)


class Adversarials:
    """Keeps the nearest adversarial of each sample.

    Args:
        data: The clean samples.
    """

    def __init__(self, data: Dataset) -> None:
        self.points = data.x.clone()
        self.distance = torch.full((len(data),), torch.inf, dtype=torch.float64)

    def take(self, piece: Piece, measured: Measured) -> None:
        """Look at what a piece brought; what lies beyond the ball, in another norm or at a larger eps, is none of this ball's."""
        job = piece.job
        beyond = job.role == "norm" or not job.method.ball or (job.role == "curve" and job.multiple > 1.0)
        if measured.adversarial is None or beyond:
            return
        distance = measured.distance[measured.broken]
        rows = piece.rows[measured.broken]
        nearer = distance < self.distance[rows]
        self.points[rows[nearer]] = measured.adversarial[nearer].to(self.points)
        self.distance[rows[nearer]] = distance[nearer]

    def save(self, file: Path) -> None:
        """Write ``index`` int64 (k,), ``adversarial`` (k, *d) and ``distance`` float64 (k,) of the k broken samples."""
        index = self.distance.isfinite().nonzero().flatten()
        write_bytes(
            file, save({"index": index, "adversarial": self.points[index].contiguous(), "distance": self.distance[index]})
        )
