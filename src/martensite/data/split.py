"""Stratified parts and orders: a seed and the labels decide them, nothing else."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from martensite.core.config import nearest
from martensite.core.errors import DataError
from martensite.core.rng import generator
from martensite.data.dataset import Dataset

PARTS = ("train", "validation", "test")
SPLITS = (*PARTS, "all")
FRACTIONS = (0.7, 0.1, 0.2)


def stratified(y: Tensor, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> tuple[Tensor, ...]:
    """Cut samples into parts that hold every class in the same proportion.

    The second and later parts get ``round(n * fraction)`` samples, the first one what is left. In them each class has its
    share, rounded up or down, and at least one sample if it has as many samples as there are parts: where that lifts a
    rare class, the part grows. A class that is rarer still keeps at least one sample in the first part.

    Args:
        y: int64 (n,), class numbers from 0.
        fractions: Share of each part, positive, 1 in all.
        seed: Of the choice of samples.

    Returns:
        Positions in ``y``, int64 and rising, one tensor a part. Every sample is in one of them.

    Raises:
        DataError: fractions that aren't positive or don't add up to 1.
    """
    if len(fractions) < 2 or not all(f > 0 for f in fractions) or not math.isclose(sum(fractions), 1.0, abs_tol=1e-9):
        raise DataError(
            f"fractions are {tuple(fractions)}", "two or more positive shares must add up to 1", "e.g. (0.7, 0.1, 0.2)"
        )
    order = _shuffled(y, seed)
    sizes = left = torch.bincount(y)
    members = _by_class(y, order)
    parts = []
    for later, fraction in zip(range(len(fractions) - 2, -1, -1), fractions[1:], strict=True):
        counts = _shares(sizes, left, round(len(y) * fraction), later, len(fractions))
        parts.append(torch.cat([group[:count] for group, count in zip(members, counts.tolist(), strict=True)]))
        members = [group[count:] for group, count in zip(members, counts.tolist(), strict=True)]
        left = left - counts
    return tuple(part.sort().values for part in (torch.cat(members), *parts))


def representative_order(y: Tensor, seed: int = 0) -> Tensor:
    """A shuffled order (n,) in which any first m samples hold every class in proportion, as nearly as m allows."""
    order = _shuffled(y, seed)
    place = torch.empty(len(y), dtype=torch.float64)
    for group in _by_class(y, order):
        # A class of k samples spreads them evenly over (0, 1).
        place[group] = (torch.arange(len(group), dtype=torch.float64) + 0.5) / max(len(group), 1)
    return order[place[order].argsort(stable=True)]


def hold_out(data: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The data without a stratified share, and that share: training and validation data."""
    kept, held = stratified(data.y, (1.0 - share, share), seed)
    return _take(data, kept, "train"), _take(data, held, "validation")


def part(data: Dataset, split: str, fractions: Sequence[float] = FRACTIONS) -> Dataset:
    """One part of data that has no split of its own: always the one of seed 0, so that a name means the same samples.

    Args:
        data: All of it.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.
        fractions: Shares of the three parts.

    Raises:
        DataError: an unknown split, or one without a sample.
    """
    check_split(split)
    if split == "all":
        return data
    return _take(data, stratified(data.y, fractions)[PARTS.index(split)], split)


def check_split(split: str) -> None:
    """Refuse an unknown split, naming the nearest known one."""
    if split not in SPLITS:
        # "val" and "valid" are common, and nearer in letters to "all" than to what they mean.
        meant = next((name for name in SPLITS if split and name.startswith(str(split))), str(split))
        raise DataError(f"there is no split {split!r}", remedy=nearest(meant, SPLITS))


def _take(data: Dataset, index: Tensor, split: str) -> Dataset:
    if not len(index):
        raise DataError(f"the {split} part of {len(data)} samples is empty", "a part has at least one sample", "give more data")
    return data.subset(index, split)


def _shares(sizes: Tensor, left: Tensor, total: int, later: int, parts: int) -> Tensor:
    """How many samples (K,) of each class go to a part of ``total`` samples: largest remainders, within what may be taken."""
    quota = sizes.double() * total / max(int(sizes.sum()), 1)
    # Every later part, and the first one, is owed a sample of each class that has enough for all parts.
    enough = sizes >= parts
    most = (left - torch.where(enough, later + 1, 1)).clamp_min(0)
    counts = torch.minimum(quota.floor().long(), most)
    counts = torch.where(enough, counts.clamp_min(1), counts)
    for k in (quota - counts).argsort(descending=True, stable=True).tolist():
        if int(counts.sum()) < total and counts[k] < quota[k]:
            counts[k] += int(counts[k] < most[k])
    return counts


def _by_class(y: Tensor, order: Tensor) -> list[Tensor]:
    """The positions of each class's samples, in that order."""
    return list(torch.split(order[y[order].argsort(stable=True)], torch.bincount(y).tolist()))


def _shuffled(y: Tensor, seed: int) -> Tensor:
    return torch.randperm(len(y), generator=generator(seed, "split"))
