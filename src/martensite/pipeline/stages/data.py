"""Stage 1: load the three parts of the data and note their digests."""

import json
from pathlib import Path

from martensite.core.errors import DataError, RunError
from martensite.core.files import write_json
from martensite.evaluation.evaluate import record
from martensite.pipeline.context import Run

PARTS = ("train", "validation", "test")


def data_stage(run: Run, folder: Path) -> None:
    """Leaves data.json: name, size, shape and digest of each part."""
    parts = [run.data(part) for part in PARTS]
    missing = set(range(parts[0].classes)) - set(parts[0].y.tolist())
    if missing:
        raise DataError(
            f"classes {sorted(missing)} have no training sample",
            "every class needs some",
            "drop those classes, or add samples",
        )
    write_json(folder / "data.json", [record(part).model_dump(mode="json") for part in parts])


def check_unchanged(run: Run, folder: Path) -> None:
    """Refuse to resume a run whose data is no longer what it began with.

    Raises:
        RunError: a part has another digest.
    """
    for noted, part in zip(json.loads((folder / "data.json").read_text()), PARTS, strict=True):
        if noted["digest"] != (found := run.data(part).digest):
            raise RunError(
                f"the {part} data has digest {found[:19]}..., and the run began with {noted['digest'][:19]}...",
                "a run is about one dataset",
                "restore the data, or start a new run with another --out",
            )
