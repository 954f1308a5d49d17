"""One door to all data: a source in text, as in Python, so in YAML and on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from martensite.core.acts import Act, recorded
from martensite.core.config import nearest
from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.digits import load_digits
from martensite.data.idx import load_mnist
from martensite.data.image_folder import load_image_folder
from martensite.data.npz import load_npz
from martensite.data.split import check_split, representative_order
from martensite.data.table import load_table
from martensite.data.text import load_text

SOURCES = ("digits", "mnist:DIR", "FILE.npz", "FILE.csv", "text:FILE", "IMAGE_FOLDER")


def _accessed(given: Mapping[str, Any], data: Dataset | None) -> Act:
    name = str(given["source"])
    return Act(name=name) if data is None else Act("data", data.digest, name, details={"split": data.split, "n": len(data)})


@recorded("access", _accessed, always=True)
def load_data(
    source: str | Path,
    split: str | None = None,
    *,
    label: str | None = None,
    scale: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load labelled data, checked, with the digest that names it in every report.

    Args:
        source: ``"digits"``, ``"mnist:DIR"``, ``"FILE.npz"``, ``"FILE.csv"``, ``"text:FILE"`` (label, tab, text), or a folder of
            images in class folders.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; None: ``"test"`` of digits and mnist, which have a split
            of their own, and ``"all"`` of a file or folder. A part of a file or folder is always the same samples.
        label: Label column of a CSV file, by name; None: the last one.
        scale: ``"minmax"``: map each column of a CSV file to [0, 1].
        limit: At most so many samples, with every class in proportion; the first m of them are those of a limit of m.
        seed: Which samples a limit takes; it decides nothing else.

    Raises:
        DataError: an unknown source or split, a missing, empty, truncated or corrupted file, values outside the box.
    """
    if split is not None:
        check_split(split)
    if limit is not None and not (isinstance(limit, int) and limit >= 1):
        raise DataError(f"limit is {limit!r}", "it is a number of samples, 1 or more", "leave it out to take all")
    try:
        data = _read(str(source), split, label, scale)
    except DataError as error:
        # Checks that don't know the file speak of "x" and "labels": say whose.
        named = (
            error.value if str(source).removeprefix("mnist:").removeprefix("text:") in error.value else f"{source}: {error.value}"
        )
        raise DataError(named, error.rule, error.remedy) from None
    except OSError as error:
        raise DataError(f"{source} can't be read: {error.strerror or error}", remedy="check its permissions") from None
    if limit is None or limit >= len(data):
        return data
    return data.subset(representative_order(data.y, seed)[:limit])


def _read(source: str, split: str | None, label: str | None, scale: str | None) -> Dataset:
    path = Path(source).expanduser()
    is_table = path.suffix.lower() == ".csv" and not path.is_dir()
    if not is_table and (label is not None or scale is not None):
        given = f"label={label!r}" if label is not None else f"scale={scale!r}"
        raise DataError(f"{given} was given for {source}", "label and scale are for CSV files", "leave them out")
    if source == "digits":
        return load_digits(split or "test")
    if source.startswith("mnist:"):
        return load_mnist(Path(source.removeprefix("mnist:")).expanduser(), split or "test")
    if source.startswith("text:"):
        return load_text(Path(source.removeprefix("text:")).expanduser(), split or "all")
    if source and path.is_dir():  # the path of nothing is the current folder
        return load_image_folder(path, split or "all")
    if is_table and path.is_file():
        return load_table(path, split or "all", label=label, scale=scale)
    if path.suffix.lower() == ".npz" and path.is_file():
        return load_npz(path, split or "all")
    raise _unknown(source, path)


def _unknown(source: str, path: Path) -> DataError:
    sources = f"sources: {', '.join(SOURCES)}"
    if path.is_file():
        return DataError(f"{source} is no data file", sources, "convert it to .npz or .csv")
    if path.suffix.lower() in (".npz", ".csv") or path.parent != Path():
        return DataError(f"{source} doesn't exist", sources, "check the path")
    return DataError(
        f"there is no data source {source!r}", "it is no known name, and no such file or folder exists", nearest(source, SOURCES)
    )
