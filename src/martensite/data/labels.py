"""From labels as files have them to class numbers 0..K-1."""

from collections.abc import Sequence

import torch
from torch import Tensor

from martensite.core.errors import DataError

MOST_CLASSES = 100_000


def count_classes(y: Tensor) -> int:
    """K for labels that are class numbers already: the largest one plus one, and at least 2. A class may have no sample.

    Raises:
        DataError: a negative label, or more classes than `MOST_CLASSES`.
    """
    low, high = (int(v) for v in torch.aminmax(y)) if len(y) else (0, 0)
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(
            f"labels range over {low}..{high}",
            f"labels are class numbers from 0, of at most {MOST_CLASSES} classes",
            "renumber the labels",
        )
    return max(high + 1, 2)


def class_numbers(labels: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Class numbers int64 (n,) and class names of labels in text.

    Whole numbers from 0 on are class numbers as they stand. Any others, text or -1 and 1, are numbered in sorted order:
    as numbers if all are, else as text.

    Raises:
        DataError: numbers that aren't whole, fewer than two different texts, too large a class number.
    """
    numbers = [_number(label) for label in labels]
    if all(number is not None for number in numbers):
        values = [number for number in numbers if number is not None]
        fraction = next((value for value in values if value != int(value)), None)
        if fraction is not None:
            raise DataError(
                f"a label is {fraction:g}", "labels are classes, not quantities", "is the label column the right one?"
            )
        if min(values) >= 0:
            y = torch.tensor([int(value) for value in values])
            return y, tuple(str(k) for k in range(count_classes(y)))
        labels = [str(int(value)) for value in values]
        names = sorted(set(labels), key=int)
    else:
        names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(
            f"all labels are {names[0]!r}", "a classifier has at least 2 classes", "is the label column the right one?"
        )
    place = {name: k for k, name in enumerate(names)}
    return torch.tensor([place[label] for label in labels]), tuple(names)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # "nan" and "inf" may be the names of classes; 2**53 is where whole floats stop being exact.
    return value if abs(value) < 2**53 else None
