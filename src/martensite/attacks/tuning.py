"""Batch size and precision by a short measurement of the model on its device.

On two CPU cores 64 to 125 images a batch ran up to twice as fast as 1,000, and bfloat16 up to twice as fast as float32 where the
processor has instructions for it. The measurement has to be short: it costs as much as four steps of an attack on a batch of 125.
"""

import time
from typing import Literal

import torch
from torch import Tensor

from martensite.attacks.losses import ascend
from martensite.attacks.memory import most_samples
from martensite.attacks.oracle import Oracle
from martensite.models.access import Access, Model

Precision = Literal["float32", "bfloat16"]
CPU_BATCHES, GPU_BATCHES = (64, 125), (250, 1000)
GAIN = 0.9  # bfloat16 is taken if a pass takes less than this share of float32's time


def tune(model: Model, x: Tensor) -> tuple[int, Precision]:
    """The fastest batch size and search precision, by two timed gradient passes each; never more than x, or the memory, holds.

    Args:
        model: In evaluation mode, parameters frozen.
        x: (n, *d) inputs on the model's device.
    """
    most = min(len(x), most_samples(model, x) or len(x))
    sizes = sorted({min(size, most) for size in (CPU_BATCHES if x.device.type == "cpu" else GPU_BATCHES)})
    if model.access < Access.GRADIENTS:
        return sizes[-1], "float32"
    least = _pass_time(model, x[: sizes[0]], "float32")
    precision: Precision = "float32"
    if model.dtype == torch.float32 and (rival := _pass_time(model, x[: sizes[0]], "bfloat16")) < GAIN * least:
        least, precision = rival, "bfloat16"
    best = sizes[0]
    for size in sizes[1:]:
        if (rival := _pass_time(model, x[:size], precision)) < least:
            least, best = rival, size
    return best, precision


def _pass_time(model: Model, x: Tensor, precision: Precision) -> float:
    """Lesser seconds an image of two forward and input-gradient passes, the first to warm up; infinite if they don't fit."""
    oracle, y = Oracle(model, precision=precision), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    times = []
    try:
        for _ in range(2):
            started = time.perf_counter()
            oracle.gradient(x, ascend("ce", y, "untargeted"))
            if x.device.type == "cuda":
                torch.cuda.synchronize(x.device)
            times.append(time.perf_counter() - started)
    except RuntimeError:  # out of memory, or a layer without a kernel in this precision
        return float("inf")
    return min(times) / len(x)
