"""The directory of a sweep: what is finished is there whole, so that a killed sweep goes on where it was.

sweep.json                        which sweep this is
points/NN/rung-K.safetensors      weights of a point after a rung
points/NN/rung-K.json             its outcome and the digest of its weights, written after them: with it, the rung is finished
points/NN/checkpoint-K.*          of the rung that is running
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from martensite.core.errors import ArtifactError, ConfigError, RunError, StorageError
from martensite.core.files import clear_litter, sha256, write_bytes, write_json
from martensite.training.sweep.outcome import Outcome

FORMAT = "martensite-sweep-2"  # 1 kept no digests of weights


class SweepDirectory:
    """A directory that belongs to one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checkpoint(self, point: int, rung: int) -> Path:
        """Where the training of this rung keeps its state."""
        return self._point(point) / f"checkpoint-{rung}.safetensors"

    def read(self, point: int, rung: int) -> Outcome | None:
        """The outcome of a finished rung; None if it isn't finished.

        Raises:
            ArtifactError: its file is damaged, or its weights aren't those that it was written for.
        """
        file = self._point(point) / f"rung-{rung}.json"
        if not file.exists():
            return None
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            digest, outcome = record["weights"], Outcome.parse(record["outcome"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError, ConfigError) as error:
            raise _damaged(file, f"can't be read: {error}") from None
        weights = file.with_suffix(".safetensors")
        if digest != sha256(_content(weights)):
            raise _damaged(weights, f"isn't what {file.name} was written for, {digest}")
        return outcome

    def weights(self, point: int, rung: int) -> dict[str, Tensor]:
        """The weights after a finished rung.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        file = self._point(point) / f"rung-{rung}.safetensors"
        try:
            return load(_content(file))
        except (SafetensorError, ValueError, KeyError) as error:
            raise _damaged(file, f"can't be read: {error}") from None

    def finish(self, point: int, rung: int, outcome: Outcome, weights: dict[str, Tensor]) -> None:
        """Write weights, then outcome; the checkpoint goes."""
        folder = self._point(point)
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
        content = save(tensors)
        write_bytes(folder / f"rung-{rung}.safetensors", content)
        write_json(folder / f"rung-{rung}.json", {"weights": sha256(content), "outcome": outcome.model_dump(mode="json")})
        self.checkpoint(point, rung).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a kill -9 left: unfinished writes, and a checkpoint whose rung was finished the moment before."""
        points = sorted((self.path / "points").glob("*"))
        for folder in (self.path, *points):
            clear_litter(folder)
        for checkpoint in [file for point in points for file in point.glob("checkpoint-*.safetensors")]:
            if checkpoint.with_name(f"rung-{checkpoint.stem.removeprefix('checkpoint-')}.json").exists():
                checkpoint.unlink()

    def _point(self, point: int) -> Path:
        return self.path / "points" / f"{point:02d}"


@contextmanager
def opened(path: Path, title: dict[str, Any]) -> Iterator[SweepDirectory]:
    """Take a directory for a sweep: a new or empty one, or one that this very sweep began.

    Args:
        path: The directory.
        title: What the sweep is, as JSON.

    Raises:
        RunError: it holds something else, another sweep, or one that another process is working on.
        StorageError: it can't be written to.
    """
    check_place(path, title)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}", remedy="choose another directory") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait for it, or choose another directory"
            raise RunError(f"{path} is in use", "another process is working on this sweep", remedy) from None
        if not (path / "sweep.json").exists():
            write_json(path / "sweep.json", {"format": FORMAT, **title})
        directory = SweepDirectory(path)
        directory.tidy()
        yield directory


def check_place(path: Path, title: dict[str, Any]) -> None:
    """Refuse a directory that this sweep may not write to.

    Raises:
        RunError: it is a file, holds something that is no sweep, or another sweep.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file", "a sweep needs a directory", "choose another one")
    if not path.exists() or all(entry.name == ".lock" or entry.name.endswith(".tmp") for entry in path.iterdir()):
        return
    try:
        found = json.loads((path / "sweep.json").read_text(encoding="utf-8"))
        known = found.pop("format") == FORMAT
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        known = False
    if not known:
        raise RunError(f"{path} is not empty and holds no sweep", "a sweep never writes among other files", "choose another one")
    if found != json.loads(json.dumps(title)):
        changed = sorted(key for key in {*found, *title} if found.get(key) != json.loads(json.dumps(title.get(key))))
        raise RunError(
            f"{path} holds another sweep (it differs in: {', '.join(changed)})",
            "a directory is for one sweep of one model on one set of data",
            "choose another one, or repeat what this one was begun with",
        )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _damaged(file, f"can't be read: {error}") from None


def _damaged(file: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{file} {' '.join(what.split())}", "a finished rung's files stay as they are",
        f"delete {file.parent}: that point is then repeated",
    )  # fmt: skip
