"""Stage 1: load the three parts of the data, note their digests, and see that the plan fits them."""

from pathlib import Path

from martensite.core.errors import DataError, RunError
from martensite.core.files import write_text
from martensite.evaluation.evaluate import record
from martensite.pipeline.checks import check_plan
from martensite.pipeline.context import Run
from martensite.pipeline.records import Parts


def data_stage(run: Run, folder: Path) -> None:
    """Leaves data.json: name, size, shape and digest of each part."""
    parts = {name: run.data(name) for name in Parts.model_fields}
    missing = set(range(parts["train"].classes)) - set(parts["train"].y.tolist())
    if missing:
        raise DataError(
            f"classes {sorted(missing)} have no training sample",
            "every class needs some",
            "drop those classes, or add samples",
        )
    check_plan(run)
    records = Parts.parse({name: record(part) for name, part in parts.items()})
    write_text(folder / "data.json", records.model_dump_json(indent=2))


def check_unchanged(run: Run) -> None:
    """Refuse to resume a run whose data is no longer what it began with.

    Raises:
        RunError: a part has another digest.
    """
    for part, noted in run.directory.read("data", "data.json", Parts):
        if noted.digest != (found := run.data(part).digest):
            raise RunError(
                f"the {part} data has digest {found[:19]}..., and the run began with {noted.digest[:19]}...",
                "a run is about one dataset",
                "restore the data, or start a new run with another --out",
            )
