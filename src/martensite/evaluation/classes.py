"""Accuracy class by class: an average can hide a class that the adversary owns."""

from collections.abc import Sequence

from martensite.core.config import Config
from martensite.evaluation.paired import holm
from martensite.evaluation.rate import Rate

LEVEL = 0.05


class ClassRow(Config):
    """One class.

    Attributes:
        name: The class's.
        clean_accuracy: Of its samples.
        robust_accuracy: Of its samples, worst case.
        p: Of Fisher's exact test that it is no less robust than the others together, corrected for the number of classes (Holm).
        flagged: p is below 0.05: it is weaker than the others, and not by chance.
    """

    name: str
    clean_accuracy: Rate
    robust_accuracy: Rate
    p: float
    flagged: bool


def by_class(
    labels: Sequence[int], names: Sequence[str], correct: Sequence[bool], robust: Sequence[bool]
) -> tuple[ClassRow, ...]:
    """One row for each class that has samples.

    Args:
        labels: (n,) class numbers.
        names: (K,) names.
        correct: (n,) without an attack.
        robust: (n,) under every attack.
    """
    from scipy.stats import fisher_exact  # slow to load

    n, held = len(labels), sum(robust)
    found = []
    for label, name in enumerate(names):
        mine = [place for place in range(n) if labels[place] == label]
        if mine:
            found.append((name, len(mine), sum(correct[place] for place in mine), sum(robust[place] for place in mine)))
    raw = [
        float(fisher_exact([[right, size - right], [held - right, n - size - held + right]], alternative="less").pvalue)
        for _, size, _, right in found
    ]
    return tuple(
        ClassRow(name=name, clean_accuracy=Rate.of(clean, size), robust_accuracy=Rate.of(right, size), p=p, flagged=p < LEVEL)
        for (name, size, clean, right), p in zip(found, holm(raw), strict=True)
    )
