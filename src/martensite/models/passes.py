"""Passes of a size that a processor's caches hold: a larger batch at once is slower, sample by sample."""

from collections.abc import Callable

import torch
from torch import Tensor

PASS = 64  # samples; smaller ones hand the interpreter from thread to thread too often: docs/performance.md


def by_parts(compute: Callable[[Tensor], Tensor], x: Tensor, most: int = PASS) -> Tensor:
    """What ``compute`` makes of a batch, on a CPU part by part; elsewhere at once.

    Args:
        compute: Row by row, from (n, *d) to (n, *e).
        x: (n, *d).
        most: Samples in a part. Parts are of one size but for one sample: a small rest would cost nearly as much as a whole.
    """
    if len(x) <= most or x.device.type != "cpu":
        return compute(x)
    return torch.cat([compute(part) for part in torch.tensor_split(x, -(-len(x) // most))])
