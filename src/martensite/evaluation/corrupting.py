"""Measures corruption errors: every corruption at every severity on every image, shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from martensite.attacks.natural import Kind, corrupt
from martensite.core.config import canonical_json
from martensite.core.engine import Engine
from martensite.core.events import Event, Listener, silent
from martensite.core.files import sha256, write_bytes
from martensite.core.rng import streams
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import answered
from martensite.evaluation.corruption import Corrupting, CorruptionError, CorruptionRow
from martensite.evaluation.rate import Rate
from martensite.evaluation.work import SHARD
from martensite.models import Model
from martensite.models.digest import identity

AT_ONCE = 125  # images: corruptions work in float64


def corruption_error(
    model: Model,
    data: Dataset,
    plan: Corrupting,
    *,
    seed: int = 0,
    clean_error: float,
    engine: Engine | None = None,
    store: Path | None = None,
    listener: Listener = silent,
) -> CorruptionError:
    """Measure it.

    Args:
        model: The model.
        data: Images (C, H, W).
        plan: Which corruptions.
        seed: Of their draws.
        clean_error: Share of the samples that are wrong without a corruption.
        engine: Where it runs.
        store: Folder for what is finished.
        listener: Gets an event a corruption and severity.
    """
    parts = torch.split(torch.arange(len(data)), SHARD)
    pieces = [_Piece(kind, severity, rows) for kind in plan.kinds for severity in plan.severities for rows in parts]
    wrong, unanswered, done = dict.fromkeys(((one.kind, one.severity) for one in pieces), 0), 0, 0
    found = (engine.map if engine else map)(_Work(model, data, seed, store), pieces)
    for piece, (errors, open_) in zip(pieces, found, strict=True):
        wrong[piece.kind, piece.severity] += errors
        unanswered, done = unanswered + open_, done + 1
        listener(Event("evaluate", done, len(pieces), "corruption", {}, f"{piece.kind} at severity {piece.severity}"))
    rows = tuple(_rows(plan, wrong, len(data)))
    mean = fmean(row.mean for row in rows)
    return CorruptionError(severities=plan.severities, rows=rows, mean=mean, rise=mean - clean_error, unanswered=unanswered)


def _rows(plan: Corrupting, wrong: dict[tuple[Kind, int], int], n: int) -> Iterator[CorruptionRow]:
    for kind in plan.kinds:
        rates = [Rate.of(wrong[kind, severity], n) for severity in plan.severities]
        yield CorruptionRow(kind=kind, errors=tuple(rates), mean=fmean(rate.value for rate in rates))


@dataclass(frozen=True)
class _Piece:
    kind: Kind
    severity: int
    rows: Tensor


@dataclass(frozen=True)
class _Work:
    """Errors, and those of them that got no answer, on a shard; picklable, so that it can run elsewhere."""

    model: Model
    data: Dataset
    seed: int
    store: Path | None

    def __call__(self, piece: _Piece) -> tuple[int, int]:
        file = None if self.store is None else self.store / f"corruption-{self._name(piece)}.safetensors"
        if file is not None and (found := _read(file)) is not None:
            return found
        wrong = unanswered = 0
        for rows in torch.split(piece.rows, AT_ONCE):
            rng = streams(self.seed, f"corruption/{piece.kind}/{piece.severity}", rows)
            told = answered(self.model, corrupt(self.data.x[rows], piece.kind, piece.severity, rng, self.data.box))
            wrong += int(((told.logits.argmax(1) != self.data.y[rows]) | ~told.known).sum())
            unanswered += int((~told.known).sum())
        if file is not None and not unanswered:
            write_bytes(file, save({"wrong": torch.tensor(wrong)}))
        return wrong, unanswered

    def _name(self, piece: _Piece) -> str:
        rows = sha256(piece.rows.numpy().tobytes())
        title = [identity(self.model), self.data.digest, piece.kind, piece.severity, rows, self.seed]
        return sha256(canonical_json(title).encode()).removeprefix("sha256:")[:32]


def _read(file: Path) -> tuple[int, int] | None:
    try:
        return int(load(file.read_bytes())["wrong"]), 0
    except (OSError, SafetensorError, KeyError):
        return None
