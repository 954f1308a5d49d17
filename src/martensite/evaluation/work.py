"""A piece of an evaluation: one attack on a shard of the samples, run anywhere, kept on disk, and reduced before it travels.

Pieces hold no adversarials unless they are asked for, so memory doesn't grow with the number of attacks. What a piece freed goes
back to the system, so it doesn't grow with the number of samples. A piece's draws belong to its samples (see `core.rng`), so how
the samples are divided into shards changes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from martensite.attacks import AttackResult
from martensite.attacks.trace import Trace
from martensite.core.config import canonical_json
from martensite.core.errors import ModelError, UnreachableError
from martensite.core.files import sha256, write_bytes
from martensite.core.heap import trim
from martensite.data.dataset import Dataset
from martensite.evaluation.adaptive import assault
from martensite.evaluation.answers import answers
from martensite.evaluation.fit import Job
from martensite.models import Access, Classifier, Model
from martensite.models.digest import identity

SHARD = 1000
COUNTS = ("forwards", "backwards", "rejected", "flat", "seen")


@dataclass(frozen=True)
class Piece:
    """What to run: a job on the samples at these positions, int64 (m,)."""

    job: Job
    rows: Tensor


@dataclass(frozen=True)
class Measured:
    """What came of a piece.

    Attributes:
        correct: (m,) bool, without an attack.
        broken: (m,) bool: correct, and an adversarial within the threat model was found.
        error: (m,) bool.
        distance: (m,) float64 of an adversarial that was found, within eps or not; infinite if there is none.
        forwards, backwards, rejected, flat, seen: See `AttackResult`.
        seconds: Wall time.
        messages: What went wrong.
        confidence: (m,) float32 in the class that is predicted for what the attack left; NaN where queries would be spent on it.
        adversarial: (k, *d) of the broken ones, in their order, if they are kept.
        traces: Loss over steps, of attacks that climb step by step.
    """

    correct: Tensor
    broken: Tensor
    error: Tensor
    distance: Tensor
    forwards: int
    backwards: int
    rejected: int
    flat: int
    seen: int
    seconds: float
    messages: tuple[str, ...]
    confidence: Tensor
    adversarial: Tensor | None = None
    traces: tuple[Trace, ...] = ()


@dataclass(frozen=True)
class Work:
    """What an engine runs: picklable, so that it can run elsewhere.

    Attributes:
        model: Under attack.
        data: All samples.
        seed: Of all randomness.
        store: Folder for finished pieces and batches; None: nothing is kept.
        keep: Adversarials travel with the piece.
        surrogates: Models that are searched instead of the one under attack, by name.
    """

    model: Model
    data: Dataset
    seed: int
    store: Path | None = None
    keep: bool = False
    surrogates: Mapping[str, Model] = field(default_factory=dict)

    def __call__(self, piece: Piece) -> Measured:
        """Run it, or read it where an earlier run left it."""
        file = None if self.store is None else self.store / f"{self._name(piece)}.safetensors"
        if file is not None and (found := _read(file)) is not None:
            return found
        batches = self.store / "batches" if self.store is not None and isinstance(self.model, Classifier) else None
        job, rows = piece.job, piece.rows
        only_queries = self.model.access < Access.GRADIENTS
        try:
            result = assault(
                job.method,
                self.model,
                self.data.x[rows],
                self.data.y[rows],
                job.threat,
                surrogate=self._searched(job),
                seed=self.seed,
                indices=rows,
                store=batches,
                trace=job.role in ("all", "survivors") and job.surrogate is None,
            )
        except UnreachableError:
            raise
        except ModelError as error:
            if not only_queries:
                raise
            return _nothing(len(rows), error)
        measured = _reduce(job, result, self._confidence(result), self.keep)
        trim()
        if file is not None and not (only_queries and bool(result.error.any())):  # what was not answered may be the next time
            _write(file, measured)
        return measured

    def _confidence(self, result: AttackResult) -> Tensor:
        if self.model.access < Access.GRADIENTS:
            return torch.full((len(result.correct),), torch.nan)
        return answers(self.model, result.adversarial).softmax(1).amax(1).float()

    def _searched(self, job: Job) -> Model | None:
        return None if job.surrogate is None else self.surrogates[job.surrogate]

    def _name(self, piece: Piece) -> str:
        searched = self._searched(piece.job)
        title = {
            "model": identity(self.model),
            "data": self.data.digest,
            "attack": piece.job.method.model_dump(mode="json"),
            "threat": piece.job.threat.model_dump(mode="json"),
            "rows": sha256(piece.rows.numpy().tobytes()),
            "seed": self.seed,
            "keep": self.keep,
            "surrogate": None if searched is None else identity(searched),
        }
        return sha256(canonical_json(title).encode()).removeprefix("sha256:")[:32]


def _reduce(job: Job, result: AttackResult, confidence: Tensor, keep: bool) -> Measured:
    broken = result.success & result.correct
    distance = result.distance.double()
    if job.method.bounded:
        distance = torch.where(broken, distance, torch.inf)
    elif job.method.ball:  # a search for the nearest may end beyond eps, at an adversarial all the same
        distance = torch.where(result.error & ~broken, torch.inf, distance)
    distance = torch.where(result.correct, distance, torch.where(result.error, torch.inf, 0.0))
    counts = {name: getattr(result, name) for name in COUNTS}
    kept = result.adversarial[broken] if keep else None
    return Measured(
        result.correct,
        broken,
        result.error,
        distance,
        **counts,
        seconds=result.seconds,
        messages=result.messages,
        confidence=confidence,
        adversarial=kept,
        traces=result.traces,
    )


def _nothing(n: int, error: ModelError) -> Measured:
    """Of n samples about none of which the model answered."""
    no = torch.zeros(n, dtype=torch.bool)
    far, unsure = torch.full((n,), torch.inf, dtype=torch.float64), torch.full((n,), torch.nan)
    return Measured(no, no, ~no, far, 0, 0, 0, 0, 0, seconds=0.0, messages=(error.value,), confidence=unsure)


def _write(file: Path, measured: Measured) -> None:
    tensors = {name: getattr(measured, name) for name in ("correct", "broken", "error", "distance", "confidence", "adversarial")}
    tensors |= {"counts": torch.tensor([getattr(measured, name) for name in COUNTS])}
    tensors |= {"seconds": torch.tensor(measured.seconds, dtype=torch.float64)}
    tensors |= {f"trace {place}": torch.stack([one.total, one.left]) for place, one in enumerate(measured.traces)}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    traced = [(one.name, one.loss, one.samples) for one in measured.traces]
    write_bytes(file, save(whole, {"messages": json.dumps(measured.messages), "traces": json.dumps(traced)}))


def _read(file: Path) -> Measured | None:
    try:
        with safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            notes = {name: json.loads(text) for name, text in stored.metadata().items()}
            traces = tuple(Trace(*one, *tensors.pop(f"trace {place}")) for place, one in enumerate(notes["traces"]))
    except (OSError, SafetensorError, LookupError):  # the last: of a version that kept no traces
        return None
    counts = dict(zip(COUNTS, tensors.pop("counts").tolist(), strict=True))
    seconds = float(tensors.pop("seconds"))
    return Measured(**tensors, **counts, seconds=seconds, messages=tuple(notes["messages"]), traces=traces)
