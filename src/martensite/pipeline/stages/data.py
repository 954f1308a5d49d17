"""Stage 1: load the three parts of the data, note their digests, and see that the plan fits them."""

from pathlib import Path

from martensite.core.errors import ConfigError, DataError, RunError
from martensite.core.files import write_json
from martensite.evaluation.evaluate import record
from martensite.evaluation.report import DataRecord
from martensite.pipeline.checks import check_plan
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
    check_plan(run)
    write_json(folder / "data.json", [record(part).model_dump(mode="json") for part in parts])


def recorded(run: Run) -> tuple[DataRecord, ...]:
    """What the run began with, a record a part."""
    try:
        return tuple(DataRecord.parse(part) for part in run.directory.read("data", "data.json"))
    except (ConfigError, TypeError) as error:
        raise run.directory.damaged("data", "data.json", error) from None


def check_unchanged(run: Run) -> None:
    """Refuse to resume a run whose data is no longer what it began with.

    Raises:
        RunError: a part has another digest.
    """
    for noted, part in zip(recorded(run), PARTS, strict=False):
        if noted.digest != (found := run.data(part).digest):
            raise RunError(
                f"the {part} data has digest {found[:19]}..., and the run began with {noted.digest[:19]}...",
                "a run is about one dataset",
                "restore the data, or start a new run with another --out",
            )
