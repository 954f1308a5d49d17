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
from pathlib import Path

from martensite.core.errors import RunError
from martensite.core.files import whole_folder, write_json
from martensite.pipeline.config import Pipeline

FORMAT = "martensite-run-1"


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
        return self.stage(name).is_dir()

    @contextmanager
    def finishing(self, name: str) -> Iterator[Path]:
        """A folder to fill; it becomes the stage's when the block ends without an error."""
        with whole_folder(self.stage(name)) as folder:
            yield folder

    @property
    def work(self) -> Path:
        """For checkpoints of the running stage."""
        return self.path / "work"


@contextmanager
def opened(path: Path, pipeline: Pipeline, stages: tuple[str, ...]) -> Iterator[RunDirectory]:
    """Take a directory for a run: a new or empty one, or one that this very run began.

    Raises:
        RunError: it holds something else, another run, or a run that another process is working on.
    """
    _refuse_strangers(path, pipeline)
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"{path} is in use", "another process is working on this run", "wait for it, or choose another --out"
            ) from None
        if not (path / "run.json").exists():
            document = {"format": FORMAT, "digest": pipeline.digest, "pipeline": pipeline.model_dump(mode="json")}
            write_json(path / "run.json", document)
        for litter in [*path.glob(".*.tmp"), *(path / "stages").glob(".*")]:  # left by a kill -9
            shutil.rmtree(litter) if litter.is_dir() else litter.unlink()
        yield RunDirectory(path, stages)


def _refuse_strangers(path: Path, pipeline: Pipeline) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file", "a run needs a directory", "choose another --out")
    if not path.exists() or not ({entry.name for entry in path.iterdir()} - {".lock"}):
        return
    try:
        found = json.loads((path / "run.json").read_text(encoding="utf-8"))
        known = found["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise RunError(f"{path} is not empty and holds no run", "a run never writes among other files", "choose another --out")
    if found["digest"] != pipeline.digest:
        theirs, ours = found.get("pipeline", {}), pipeline.model_dump(mode="json")
        changed = sorted(key for key in ours if theirs.get(key) != ours[key])
        raise RunError(
            f"{path} holds another run (it differs in: {', '.join(changed) or 'version'})",
            "a run directory is for one pipeline and seed",
            "choose another --out, or run the pipeline that this directory was made with",
        )
