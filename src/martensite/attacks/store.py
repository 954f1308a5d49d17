"""Finished batches of an attack on disk, so that a run that was killed goes on where it was.

What is kept are candidates, not verdicts: a resumed run judges them afresh. A batch is found again only by the same samples,
threat model, seed and precision, and where the model that is searched, the attack and its loss compute the same: see
`fingerprint`.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from martensite.attacks.budget import Budget
from martensite.attacks.fingerprint import UnknownError, fingerprint
from martensite.attacks.losses import LOSSES, REACHING
from martensite.attacks.oracle import Oracle
from martensite.attacks.tuning import BATCH, DEVICE_BATCH, MOST, Pace
from martensite.core.config import Config, canonical_json
from martensite.core.errors import ModelError
from martensite.core.files import sha256, write_bytes, write_json
from martensite.models.access import Model


class Store:
    """A folder of finished batches.

    Args:
        folder: Where they lie; one folder serves any number of runs.
        searched: The model that answers the search; all that it computes with is part of every name.
        direct: It is also the model that judges: a sample's search may end at its first success.
        budget: The run's; a search that a budget may cut short is not kept. None: no limits.
        run: Whatever else names the run: threat model, seed.

    Raises:
        ModelError: a black box under attack, which has nothing to recognise it by.

    Attributes:
        unused: Why something is neither kept nor resumed, a sentence each.
    """

    def __init__(self, folder: Path | str, searched: Model, direct: bool, budget: Budget | None, run: dict[str, object]) -> None:
        self.folder, self.unused = Path(folder), list[str]()
        # The members of a mean of models are models, too.
        black = not all(isinstance(each, nn.Module) for each in (searched, *getattr(searched, "models", ())))
        if black and direct:
            raise ModelError(
                "a black box was given with a store", "nothing tells whether its answers are the same", "leave store= out"
            )
        model = ""
        if budget is not None and budget.model_copy(update={"stop_below": None}) != Budget():
            self._leave("a budget of queries or time may cut a search short at another point the next time")
        elif black:
            self._leave("a surrogate is a black box, and nothing tells whether its answers are the same")
        else:
            try:
                model = fingerprint(searched)
            except UnknownError as error:
                self._leave(f"the model holds {error}, of which nothing tells whether it computes the same")
        self._run = {**run, "model": model, "direct": direct}

    def settle(self, batch_size: int | str | None, precision: str, x: Tensor, pace: Pace) -> Pace:
        """The pace of the run: where it was left open, the one that was kept when it began, so that it cuts the same batches.

        Args:
            batch_size: What the caller asked for.
            precision: Likewise.
            x: (n, *d) inputs, on the model's device.
            pace: What would be chosen now.
        """
        if self._run["model"] and (not isinstance(batch_size, int) or precision == "auto"):
            inputs = [*x.shape, str(x.dtype), x.device.type, sha256(x.cpu().numpy().tobytes())]
            file = self.folder / f"{self._hash({**self._run, 'asked': [batch_size, precision], 'inputs': inputs})}.json"
            kept = self._pace(file)
            # The usual size needs no note: it is chosen again, unless there is less memory by then.
            if kept is None and ("auto" in (batch_size, precision) or pace.batch_size not in (BATCH, DEVICE_BATCH)):
                write_json(file, pace._asdict())
            pace = kept or pace
        self._run["precision"] = pace.precision
        return pace

    @staticmethod
    def _pace(file: Path) -> Pace | None:
        try:
            kept = json.loads(file.read_text())
            pace = Pace(int(kept["batch_size"]), kept["precision"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pace if 1 <= pace.batch_size <= MOST and pace.precision in ("float32", "bfloat16") else None

    def name(self, method: Config, x: Tensor, aim: Tensor, keys: Tensor) -> Path | None:
        """The file of one batch: inputs (n, *d), classes (n,) and random streams (n,); None: it is not to be kept."""
        if not self._run["model"]:
            return None
        settings = method.model_dump(mode="json")
        try:
            losses = sorted(_texts(settings) & LOSSES.keys())
            code = fingerprint(method, *(LOSSES[name] for name in losses), *(REACHING.get(name) for name in losses))
        except UnknownError as error:
            self._leave(f"{method.__class__.__name__} holds {error}, of which nothing tells whether it computes the same")
            return None
        batch = b"".join(part.cpu().contiguous().numpy().tobytes() for part in (x, aim, keys))
        title = {**self._run, "attack": settings, "code": code, "batch": sha256(batch), "counts": 6}
        return self.folder / f"{self._hash(title)}.safetensors"

    @staticmethod
    def _hash(title: dict[str, object]) -> str:
        return sha256(canonical_json(title).encode()).removeprefix("sha256:")[:32]

    def _leave(self, reason: str) -> None:
        if (sentence := f"nothing was kept in the store or resumed from it: {reason}") not in self.unused:
            self.unused.append(sentence)

    def read(self, file: Path, oracle: Oracle) -> Tensor | None:
        """The batch's candidates, its costs booked on the oracle; None if it isn't there or isn't whole."""
        try:
            kept = load(file.read_bytes())
        except (OSError, SafetensorError):
            return None
        account = oracle.account
        account.spent, oracle.claimed = kept["spent"].to(account.spent.device), kept["claimed"].to(account.spent.device)
        forwards, backwards, discarded, flat, seen, odd = kept["passes"].tolist()
        oracle.forwards, oracle.backwards = oracle.forwards + forwards, oracle.backwards + backwards
        oracle.discarded += discarded
        slopes = oracle.slopes
        slopes.flat, slopes.seen, slopes.odd = slopes.flat + flat, slopes.seen + seen, slopes.odd + odd
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
    """What an oracle has counted: passes forwards, backwards, discarded; gradients that were flat, looked at, not finite."""
    return oracle.forwards, oracle.backwards, oracle.discarded, oracle.slopes.flat, oracle.slopes.seen, oracle.slopes.odd


def _texts(settings: object) -> set[str]:
    """All strings in a configuration: some of them name losses."""
    if isinstance(settings, str):
        return {settings}
    inside = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    return set().union(*(_texts(each) for each in inside))
