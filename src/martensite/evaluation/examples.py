"""A dozen adversarials of an evaluation, with what the model says of them: what a page shows of it.

The samples are drawn among the broken ones by lot, and of each the adversarial that the model is surest of; nothing else is kept,
so memory doesn't grow with the data.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from martensite.attacks.trust import probabilities
from martensite.core.errors import ArtifactError, MartensiteError
from martensite.core.files import write_bytes
from martensite.core.rng import generator
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import answers
from martensite.evaluation.work import Measured, Piece
from martensite.models import Access, Model

SHOWN = 12


@dataclass(frozen=True, eq=False)
class Pair:
    """An input and what an attack made of it.

    Attributes:
        index: Of the sample in its dataset.
        clean: (*d) in the box.
        adversarial: Likewise.
        label: Name of the true class.
        clean_prediction: Name of the class that the model gives the clean input.
        clean_confidence: In [0, 1]; None of a model that gives labels only.
        adversarial_prediction: Name of the class that it gives the adversarial.
        adversarial_confidence: As for the clean input.
        attack: Which attack made it.
        model: Which model answered, e.g. ``"baseline"``; empty if there is only one.
    """

    index: int
    clean: Tensor
    adversarial: Tensor
    label: str
    clean_prediction: str
    clean_confidence: float | None
    adversarial_prediction: str
    adversarial_confidence: float | None
    attack: str
    model: str = ""


@dataclass
class _Found:
    """Of one sample, the adversarial to show."""

    adversarial: Tensor
    confidence: float
    attack: str


class Examples:
    """Looks at the pieces of an evaluation as they come in.

    Args:
        data: The clean samples.
        seed: Of the lot.
        shown: How many samples to keep.
    """

    def __init__(self, data: Dataset, seed: int, shown: int = SHOWN) -> None:
        self._data, self._shown = data, shown
        self._lot = torch.rand(len(data), generator=generator(seed, "evaluate/examples"))
        self._found: dict[int, _Found] = {}

    def take(self, piece: Piece, measured: Measured) -> None:
        """Look at what a piece brought; what lies beyond the threat model is no example of it."""
        if measured.adversarial is None or piece.job.role not in ("all", "survivors") or not piece.job.method.ball:
            return
        rows, confidence = piece.rows[measured.broken], measured.confidence[measured.broken].nan_to_num(0.0).tolist()
        # Whoever is broken stays so, and the lowest lots can only be outbid: looking at these is enough.
        for place in self._lot[rows].argsort()[: self._shown].tolist():
            row = int(rows[place])
            if row not in self._found or confidence[place] > self._found[row].confidence:
                self._found[row] = _Found(measured.adversarial[place].clone(), confidence[place], piece.job.name)
        for row in sorted(self._found, key=self._lot.__getitem__)[self._shown :]:
            del self._found[row]

    def pairs(self, model: Model, logits: Tensor) -> list[Pair]:
        """In the order of the data; none if the model, asked once more, doesn't answer.

        Args:
            model: Which was attacked.
            logits: (n, K) its answers to the clean samples.
        """
        rows, names = sorted(self._found), self._data.class_names
        if not rows:
            return []
        points = torch.stack([self._found[row].adversarial for row in rows]).to(self._data.x)
        try:
            attacked = answers(model, points)
        except MartensiteError:  # a query that fails must not cost the report
            return []
        before, after = (_said(model, scores) for scores in (logits[rows], attacked))
        return [
            Pair(
                index=row,
                clean=self._data.x[row],
                adversarial=points[place],
                label=names[int(self._data.y[row])],
                clean_prediction=names[before[place][0]],
                clean_confidence=before[place][1],
                adversarial_prediction=names[after[place][0]],
                adversarial_confidence=after[place][1],
                attack=self._found[row].attack,
            )
            for place, row in enumerate(rows)
        ]


def _said(model: Model, scores: Tensor) -> list[tuple[int, float | None]]:
    """Class and confidence of each."""
    share = scores if probabilities(scores) else scores.softmax(1)
    sure: list[float | None] = [None] * len(scores) if model.access is Access.DECISIONS else share.amax(1).tolist()
    return list(zip(scores.argmax(1).tolist(), sure, strict=True))


def save_examples(file: Path, pairs: list[Pair], model_digest: str, data_digest: str) -> None:
    """Write them beside a report (safetensors); the digests say which report they belong to."""
    said = [f"{which}_{what}" for which in ("clean", "adversarial") for what in ("prediction", "confidence")]
    rows = [{name: getattr(pair, name) for name in ("index", "label", *said, "attack")} for pair in pairs]
    clean, adversarial = (
        torch.stack([getattr(pair, name) for pair in pairs]).contiguous() if pairs else torch.zeros(0)
        for name in ("clean", "adversarial")
    )
    notes = {"model": model_digest, "data": data_digest, "pairs": json.dumps(rows)}
    write_bytes(file, save({"clean": clean, "adversarial": adversarial}, notes))


def load_examples(file: Path, model_digest: str, data_digest: str) -> list[Pair]:
    """Read them; none if there is no such file, or it belongs to another report.

    Raises:
        ArtifactError: it is damaged.
    """
    if not file.is_file():
        return []
    try:
        with safe_open(file, "pt") as stored:
            notes = stored.metadata()
            if (notes["model"], notes["data"]) != (model_digest, data_digest):
                return []
            points = zip(stored.get_tensor("clean"), stored.get_tensor("adversarial"), strict=True)
        return [
            Pair(clean=clean, adversarial=adversarial, **row)
            for row, (clean, adversarial) in zip(json.loads(notes["pairs"]), points, strict=True)
        ]
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{file} can't be read: {' '.join(str(error).split())}",
            "it holds what evaluate --out leaves",
            "delete it: the page then has no gallery, or evaluate anew",
        ) from None
