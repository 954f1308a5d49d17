"""Finished batches of an attack on disk, so that a run that was killed goes on where it was.

What is kept are candidates, not verdicts: a resumed run judges them afresh. A batch is found again only by the same model, data,
threat model, attack, seed, precision and samples.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from martensite.attacks.oracle import Oracle
from martensite.core.config import Config, canonical_json
from martensite.core.errors import ModelError
from martensite.core.files import sha256, write_bytes
from martensite.models.access import Model
from martensite.models.classifier import Classifier
from martensite.models.digest import model_digest


class Store:
    """A folder of finished batches.

    Args:
        folder: Where they lie; one folder serves any number of runs.
        model: The model under attack; its digest is part of every name.
        run: Whatever else names the run: threat model, seed, precision.

    Raises:
        ModelError: a black box, which has no digest to recognise it by.
    """

    def __init__(self, folder: Path, model: Model, run: dict[str, object]) -> None:
        if not isinstance(model, Classifier):
            raise ModelError(
                "a black box was given with a store", "its answers can't be recognised by a digest", "leave store= out"
            )
        self.folder, self._run = folder, {**run, "model": model_digest(model)}

    def name(self, method: Config, x: Tensor, aim: Tensor, keys: Tensor) -> Path:
        """The file of one batch: inputs (n, *d), classes (n,) and random streams (n,)."""
        batch = b"".join(part.cpu().contiguous().numpy().tobytes() for part in (x, aim, keys))
        title = canonical_json({**self._run, "attack": method.model_dump(mode="json"), "batch": sha256(batch), "counts": 4})
        return self.folder / f"{sha256(title.encode()).removeprefix('sha256:')[:32]}.safetensors"

    def read(self, file: Path, oracle: Oracle) -> Tensor | None:
        """The batch's candidates, its costs booked on the oracle; None if it isn't there or isn't whole."""
        try:
            kept = load(file.read_bytes())
        except (OSError, SafetensorError):
            return None
        account = oracle.account
        account.spent, oracle.claimed = kept["spent"].to(account.spent.device), kept["claimed"].to(account.spent.device)
        forwards, backwards, discarded, flat, seen = kept["passes"].tolist()
        oracle.forwards, oracle.backwards = oracle.forwards + forwards, oracle.backwards + backwards
        oracle.discarded += discarded
        oracle.flat, oracle.seen = oracle.flat + flat, oracle.seen + seen
        if oracle.recorder is not None:
            oracle.recorder.replay(kept["trace"])
        return kept["candidate"].to(account.spent.device)

    def write(self, file: Path, candidate: Tensor, oracle: Oracle, before: tuple[int, ...]) -> None:
        """Keep a batch; ``before`` are the oracle's `counts` when it began."""
        passes = torch.tensor(counts(oracle)) - torch.tensor(before)
        tensors = {"candidate": candidate, "spent": oracle.account.spent, "claimed": oracle.claimed, "passes": passes}
        if oracle.recorder is not None:
            tensors["trace"] = oracle.recorder.batch
        write_bytes(file, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def counts(oracle: Oracle) -> tuple[int, ...]:
    """What an oracle has counted: passes forwards, backwards and discarded, flat gradients, gradients looked at."""
    return oracle.forwards, oracle.backwards, oracle.discarded, oracle.flat, oracle.seen
