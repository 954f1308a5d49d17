"""The run directory: one folder a finished stage, so that a killed run goes on where it was.

run.json            which pipeline this is
stages/NN-name/     outputs of each finished stage; the folder appears when the stage is complete, not before
work/               checkpoints of the stage that is running
model/ report.json report.html     what the run is for
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, TypeVar

from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError, RunError, StorageError
from martensite.core.files import clear_litter, whole_folder, write_json
from martensite.pipeline.config import Pipeline

C = TypeVar("C", bound=Config)

FORMAT = "martensite-run-1"
# What a stage leaves beside its folder: without it the stage isn't finished.
AT_TOP = {"bundle": ("model",), "report": ("report.json", "report.html")}


class RunDirectory:
    """A directory that belongs to one run of one pipeline."""

    def __init__(self, path: Path, stages: tuple[str, ...]) -> None:
        self.path = path
        self._names = {stage: f"{number:02d}-{stage}" for number, stage in enumerate(stages, start=1)}

    def stage(self, name: str) -> Path:
        """Where a finished stage's outputs lie."""
        return self.path / "stages" / self._names[name]

    def finished(self, name: str) -> bool:
        """Whether the stage is complete."""
        return self.stage(name).is_dir() and all((self.path / left).exists() for left in AT_TOP.get(name, ()))

    @contextmanager
    def finishing(self, name: str) -> Iterator[Path]:
        """A folder to fill; it becomes the stage's when the block ends without an error, and its checkpoints go."""
        with whole_folder(self.stage(name)) as folder:
            yield folder
        shutil.rmtree(self.work, ignore_errors=True)

    @property
    def work(self) -> Path:
        """For checkpoints of the running stage."""
        return self.path / "work"

    def read(self, name: str, file: str, kind: type[C]) -> C:
        """What a finished stage left in a JSON file.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        try:
            return kind.parse(json.loads((self.stage(name) / file).read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, ConfigError) as error:
            raise self.damaged(name, file, error) from None

    def damaged(self, name: str, file: str, error: Exception) -> ArtifactError:
        """What to say of a finished stage's file that can't be read."""
        return ArtifactError(
            f"{self.stage(name) / file} can't be read: {' '.join(str(error).split())}",
            "a finished stage's files stay as they are",
            f"delete {self.stage(name)} and run again: the stage is then repeated",
        )


@contextmanager
def opened(path: Path, pipeline: Pipeline, stages: tuple[str, ...]) -> Iterator[RunDirectory]:
    """Take a directory for a run: a new or empty one, or one that this very run began.

    Raises:
        RunError: it holds something else, another run, or a run that another process is working on.
        StorageError: it can't be written to.
    """
    check_place(path, pipeline)
    with _locked(path):
        check_place(path, pipeline)  # again: another process may have begun and ended in between
        if not (path / "run.json").exists():
            document = {"format": FORMAT, "digest": pipeline.digest, "pipeline": pipeline.model_dump(mode="json")}
            write_json(path / "run.json", document)
        for folder in (path, path / "stages", path / "work"):
            clear_litter(folder)
        yield RunDirectory(path, stages)


def check_place(path: Path, pipeline: Pipeline) -> None:
    """Refuse a directory that this run may not write to.

    Raises:
        RunError: it is a file, holds something that is no run, or another run.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file", "a run needs a directory", "choose another --out")
    if not path.exists() or all(_passing(entry.name) for entry in path.iterdir()):
        return
    try:
        found = json.loads((path / "run.json").read_text(encoding="utf-8"))
        known, theirs, digest = found["format"] == FORMAT, dict(found["pipeline"]), found["digest"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        known = False
    if not known:
        raise RunError(f"{path} is not empty and holds no run", "a run never writes among other files", "choose another --out")
    if digest != pipeline.digest:
        ours = pipeline.model_dump(mode="json")
        changed = sorted(key for key in {*ours, *theirs} if theirs.get(key) != ours.get(key))
        raise RunError(
            f"{path} holds another run (it differs in: {', '.join(changed) or 'version'})",
            "a run directory is for one pipeline and seed",
            "choose another --out, or run the pipeline that this directory was made with",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (path / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}", remedy="choose another --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{path} is in use", "another process is working on this run", "wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise StorageError(f"{path} can't be locked: {error.strerror}", remedy="choose a place on another disk") from None
        yield


def _passing(name: str) -> bool:
    """What a run that was killed before it wrote run.json may have left."""
    return name == ".lock" or fnmatch(name, ".run.json.*.tmp")
