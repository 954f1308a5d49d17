"""Batch size and precision: as they are given, within the memory that is free, or by a short measurement on the device.

On two CPU cores 64 to 125 images a batch ran up to twice as fast as 1,000, and bfloat16 up to twice as fast as float32 where the
processor has instructions for it. The measurement has to be short: it costs as much as four steps of an attack on a batch of 125.
What it chooses may differ from run to run, and with the batch the last bits of a pass; so it is made where it is asked for.
"""

import time
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from martensite.attacks.losses import ascend
from martensite.attacks.memory import most_samples, surely_fit
from martensite.attacks.oracle import Oracle
from martensite.core.errors import ConfigError
from martensite.models.access import Access, Model

Precision = Literal["float32", "bfloat16"]
# On a CPU larger batches leave the caches, and glibc returns their activations to the system after each layer, to fault them in
# again at the next: a pass over 250 MNIST images took 1.4 times as long as two over 125.
BATCH, DEVICE_BATCH = 125, 1000
CPU_BATCHES, GPU_BATCHES = (64, BATCH), (250, DEVICE_BATCH)
MOST = 2**31 - 1
GAIN = 0.9  # bfloat16 is taken if a pass takes less than this share of float32's time


class Pace(NamedTuple):
    """How a run goes: samples a batch, and the precision of the search."""

    batch_size: int
    precision: Precision


def settle(model: Model, x: Tensor, batch_size: int | Literal["auto"] | None, precision: Precision | Literal["auto"]) -> Pace:
    """What is given stays; ``"auto"`` is measured; a batch size of None is the device's usual one, or what memory holds of it.

    Args:
        model: In evaluation mode, parameters frozen.
        x: (n, *d) inputs on the model's device.
        batch_size: Samples a batch.
        precision: Of the search.

    Raises:
        ConfigError: a batch size below 1, or another word than these.
    """
    number = batch_size if isinstance(batch_size, int) and not isinstance(batch_size, bool) else 0
    if batch_size not in (None, "auto") and not 1 <= number <= MOST:
        raise ConfigError(f"batch_size is {batch_size!r}", f"a batch has 1 to {MOST:,} samples", 'e.g. 125, or "auto"')
    if precision not in ("float32", "bfloat16", "auto"):
        raise ConfigError(f"precision is {precision!r}", "a search runs in float32 or bfloat16", 'or "auto": whichever is faster')
    if batch_size == "auto" or precision == "auto":
        fastest = tune(model, x)
        batch_size = fastest.batch_size if batch_size == "auto" else batch_size
        precision = fastest.precision if precision == "auto" else precision
    if batch_size is None:
        batch_size = within_memory(model, x, BATCH if x.device.type == "cpu" else DEVICE_BATCH)
    return Pace(batch_size, precision)


def within_memory(model: Model, x: Tensor, batch: int) -> int:
    """So many samples like x (n, *d), or as many of them as memory holds."""
    return batch if surely_fit(x, min(batch, len(x))) else min(batch, most_samples(model, x) or batch)


def tune(model: Model, x: Tensor) -> Pace:
    """The fastest batch size and search precision, by two timed gradient passes each; never more than x, or the memory, holds.

    Args:
        model: In evaluation mode, parameters frozen.
        x: (n, *d) inputs on the model's device.
    """
    most = max(min(len(x), most_samples(model, x) or len(x)), 1)
    sizes = sorted({min(size, most) for size in (CPU_BATCHES if x.device.type == "cpu" else GPU_BATCHES)})
    if model.access < Access.GRADIENTS:
        return Pace(sizes[-1], "float32")
    least = _pass_time(model, x[: sizes[0]], "float32")
    precision: Precision = "float32"
    if model.dtype == torch.float32 and (rival := _pass_time(model, x[: sizes[0]], "bfloat16")) < GAIN * least:
        least, precision = rival, "bfloat16"
    best = sizes[0]
    for size in sizes[1:]:
        if (rival := _pass_time(model, x[:size], precision)) < least:
            least, best = rival, size
    return Pace(best, precision)


def _pass_time(model: Model, x: Tensor, precision: Precision) -> float:
    """Lesser seconds an image of two forward and input-gradient passes, the first to warm up; infinite if they don't fit."""
    oracle, y = Oracle(model, precision=precision), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    times = []
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        try:
            for _ in range(2):
                started = time.perf_counter()
                oracle.gradient(x, ascend("ce", y, "untargeted"))
                if x.device.type == "cuda":
                    torch.cuda.synchronize(x.device)
                times.append(time.perf_counter() - started)
        except Exception:  # out of memory, a layer without a kernel in this precision, or a fault that the run meets and tells
            return float("inf")
    return min(times) / len(x)
