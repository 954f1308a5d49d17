"""Random streams derived from (run seed, stage, sample index).

A draw belongs to a sample, not to the batch it happens to travel in, so neither batch size, nor the order of work, nor the
device, nor the number of workers changes a result. No function reads or sets a global seed.

`Streams` is a counter-based generator: draw number c of sample i is a hash of (key of i, c), with the finaliser of SplitMix64
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA, fig. 17). It costs a few element-wise
operations, so a whole batch is drawn at once.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the part of a run that ``path`` names, e.g. ``derive(0, "train", epoch)``."""
    text = "/".join([str(int(seed)), *[str(part) for part in path]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU `torch.Generator` for one stream, where one stream is enough (the order of an epoch, say)."""
    return torch.Generator().manual_seed(derive(seed, *path))


class Streams:
    """One random stream for each sample of a batch.

    Args:
        keys: int64 (n,), one key a sample; make them with `streams`.
        counter: Draws already taken from every stream.
    """

    def __init__(self, keys: Tensor, counter: int = 0) -> None:
        self.keys, self.counter = keys, counter

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: Tensor | slice) -> "Streams":
        """The streams of some of the samples (mask, indices or slice), at the point they have reached."""
        return Streams(self.keys[index], self.counter)

    def fork(self, *path: str | int) -> "Streams":
        """Independent streams for the same samples, e.g. ``fork("restart", 2)``."""
        return Streams(_mix(self.keys ^ derive(0, *path)))

    def rounds(self, count: int, draws: int) -> "Streams":
        """(count * n) streams: those of the samples at the point they have reached, then the same ``draws`` draws further on, ...

        So what ``count`` rounds would draw one after the other, ``draws`` numbers each, can be drawn at once.
        """
        steps = torch.arange(count, device=self.keys.device) * draws
        return Streams((self.keys + (steps * GOLDEN)[:, None]).flatten(), self.counter)

    def to(self, device: torch.device | str) -> Self:
        """Move the keys; the draws stay the same."""
        self.keys = self.keys.to(device)
        return self

    def bits(self, shape: Sequence[int]) -> Tensor:
        """int64 (n, *shape), each uniform over all 64-bit values."""
        count = math.prod(shape)
        steps = torch.arange(self.counter + 1, self.counter + count + 1, device=self.keys.device)
        self.counter += count
        return _mix(self.keys[:, None] + (steps * GOLDEN)[None, :]).view(len(self), *shape)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 (n, *shape), uniform in [low, high); rounding may reach a ``high`` other than 1, never pass it."""
        unit = _shift(self.bits(shape), 40).to(torch.float32) * 2.0**-24
        return unit.mul_(high - low).add_(low).clamp_(max=high)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 (n, *shape), standard normal (Box and Muller 1958)."""
        bits = self.bits(shape)
        radius_unit = (_shift(bits, 32).to(torch.float64) + 1.0) * 2.0**-32  # in (0, 1]
        angle_unit = (bits & 0xFFFFFFFF).to(torch.float64) * 2.0**-32
        return ((-2.0 * radius_unit.log()).sqrt() * (2.0 * math.pi * angle_unit).cos()).to(torch.float32)

    def sign(self, shape: Sequence[int]) -> Tensor:
        """float32 (n, *shape), -1 or +1 with equal chance."""
        return _shift(self.bits(shape), 63).to(torch.float32).mul_(2.0).sub_(1.0)

    def integers(self, high: int, shape: Sequence[int]) -> Tensor:
        """int64 (n, *shape), uniform in [0, high); the bias is below high / 2**53."""
        return (_shift(self.bits(shape), 11).to(torch.float64) * (high * 2.0**-53)).to(torch.int64)


def streams(seed: int, stage: str, indices: Tensor | int) -> Streams:
    """Streams of the samples with these indices (int64 (n,), or n for 0..n-1) in one stage of a run."""
    index = torch.arange(indices) if isinstance(indices, int) else indices.to(torch.int64)
    return Streams(_mix(_mix(index * GOLDEN) ^ derive(seed, stage)))


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes it the logical shift that the hash needs.
    return (z >> by) & ((1 << (64 - by)) - 1)
