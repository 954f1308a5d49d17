"""Tensors that belong to samples of the training data and outlive the batch: stored perturbations, say."""

import torch
from torch import Tensor


class Memory:
    """Named tensors, one row a training sample; the rows of the current batch are read and written.

    Args:
        samples: Samples in the training data.

    Attributes:
        tensors: (samples, *d) by name; what a checkpoint keeps.
    """

    def __init__(self, samples: int = 0) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._samples = samples
        self._rows = torch.zeros(0, dtype=torch.int64)

    def open(self, rows: Tensor) -> None:
        """Take up the batch of the samples with these indices (n,)."""
        self._rows = rows

    def recall(self, name: str, like: Tensor) -> Tensor:
        """What was stored for the samples of this batch: (n, *d), shaped and typed as ``like``; zeros where nothing was."""
        kept = self._grown(name, like)
        rows = self._rows.to(kept.device)
        return kept[rows].to(like.device, like.dtype)

    def store(self, name: str, value: Tensor) -> None:
        """Keep a row (n, *d) of ``value`` for each sample of this batch."""
        kept = self._grown(name, value)
        kept[self._rows.to(kept.device)] = value.detach().to(kept.dtype)

    def _grown(self, name: str, like: Tensor) -> Tensor:
        size = max(self._samples, int(self._rows.max()) + 1 if len(self._rows) else 0)
        kept = self.tensors.get(name)
        if kept is None or len(kept) < size:
            fresh = torch.zeros(size, *like.shape[1:], dtype=like.dtype, device=like.device)
            if kept is not None:
                fresh[: len(kept)] = kept
            self.tensors[name] = kept = fresh
        return kept
