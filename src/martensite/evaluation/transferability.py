"""The transfer matrix: how far adversarials made on one model break another.

Papernot, McDaniel and Goodfellow 2016, "Transferability in machine learning", arXiv:1605.07277, sec. 3, fig. 3.
"""

from collections.abc import Mapping

from martensite.attacks import Attack, transfer
from martensite.core.config import Config
from martensite.data.dataset import Dataset
from martensite.evaluation.rate import Rate
from martensite.models import Model
from martensite.threat import ThreatModel


class TransferMatrix(Config):
    """Rates by which adversarials break the model they were not made on.

    Attributes:
        names: Of the models.
        attack: The attack's configuration.
        rates: Row: the model that was searched; column: the model that was judged. Of the samples that the judged one gets right,
            the share that is broken; None where it gets none right, or where the searched one grants too little to be searched.
    """

    names: tuple[str, ...]
    attack: dict[str, object]
    rates: tuple[tuple[Rate | None, ...], ...]


def transfer_matrix(
    models: Mapping[str, Model], data: Dataset, threat: ThreatModel, method: Attack, *, seed: int = 0
) -> TransferMatrix:
    """Attack each model, and judge on each; searches run their full course, on the diagonal as well.

    Raises:
        MartensiteError: see `attacks.transfer`.
    """
    rows: list[tuple[Rate | None, ...]] = []
    for source in models.values():
        row: list[Rate | None] = []
        if source.access < method.needs:
            rows.append((None,) * len(models))
            continue
        for target in models.values():
            result = transfer(method, [source], target, data.x, data.y, threat, seed=seed)
            right = int(result.correct.sum())
            row.append(Rate.of(int((result.success & result.correct).sum()), right) if right else None)
        rows.append(tuple(row))
    return TransferMatrix(names=tuple(models), attack=method.model_dump(mode="json"), rates=tuple(rows))
