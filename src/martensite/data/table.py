"""Tables: a CSV file of numbers with one column of labels."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from martensite.core.config import nearest
from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.labels import class_numbers
from martensite.data.split import check_split, part

Matrix = npt.NDArray[np.float64]


def load_table(path: Path, split: str = "all", *, label: str | None = None, scale: str | None = None) -> Dataset:
    """x (n, features) in [0, 1] and the labels of a CSV file, comma-separated, UTF-8, split 0.7, 0.1, 0.2.

    Args:
        path: The file. Its first row is a header if no feature in it is a number, or if it alone has text for a label.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.
        label: Name of the label column; None: the last column. `class_numbers` says what labels may be.
        scale: None: features lie in [0, 1]; ``"minmax"``: in each column the smallest and the largest value of the whole
            file become 0 and 1.

    Raises:
        DataError: a file that is missing, empty or ragged, an unknown label column, a cell that is no number (with its row
            and column), a column outside [0, 1] without ``scale``.
    """
    check_split(split)
    if scale not in (None, "minmax"):
        raise DataError(f"scale is {scale!r}", "it is None or 'minmax'", nearest(str(scale), ["minmax"]))
    table = _table(path, _rows(path), label)
    y, class_names = class_numbers(table.labels())
    x = table.features()
    if scale:
        x = _minmax(x)
    else:
        _check_box(path, x, table)
    data = Dataset(torch.from_numpy(x).to(torch.float32), y, len(class_names), path.name, class_names=class_names)
    return part(data, split)


@dataclass(frozen=True)
class _Table:
    path: Path
    names: list[str]
    label: int
    rows: list[tuple[int, list[str]]]  # with the line of the file, which is what an editor shows

    def labels(self) -> list[str]:
        for line, cells in self.rows:
            if not cells[self.label]:
                raise self._bad(line, self.label, "", "every row needs a label")
        return [cells[self.label] for _, cells in self.rows]

    def features(self) -> Matrix:
        columns = [k for k in range(len(self.names)) if k != self.label]
        x = np.empty((len(self.rows), len(columns)))
        for row, (line, cells) in enumerate(self.rows):
            for place, k in enumerate(columns):
                value = _number(cells[k])
                if value is None:
                    raise self._bad(line, k, cells[k], "features are finite numbers")
                x[row, place] = value
        return x

    def feature_name(self, place: int) -> str:
        """Of a column of `features`."""
        return self.names[place + (place >= self.label)]

    def _bad(self, line: int, column: int, cell: str, rule: str) -> DataError:
        where = f"{self.path}: row {line}, column {self.names[column]!r}"
        return DataError(f"{where} holds {cell!r}", rule, "mend or drop the row; number categories, or give each a 0/1 column")


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = "give a comma-separated file in UTF-8"
        raise DataError(f"{path} can't be read: {error}", "it is no CSV file, or it is corrupted", remedy) from None
    if not rows:
        raise DataError(f"{path} is empty", "a table has at least one row", "give data")
    width = len(rows[0][1])
    if width < 2:
        raise DataError(f"{path} has one column", "a table has features and a label", "separate the columns by commas")
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(f"{path}: row {line} has {len(cells)} cells", f"the first row has {width}", "mend that row")
    return rows


def _table(path: Path, rows: list[tuple[int, list[str]]], label: str | None) -> _Table:
    first, rest = rows[0][1], rows[1:]
    column = len(first) - 1
    headed = _is_header(first, [cells[column] for _, cells in rest])
    if label is not None:
        if label not in first:
            remedy = nearest(label, first) if headed else "leave label out: the last column is the label"
            raise DataError(f"{path} has no column {label!r}", "the label column is named in the first row", remedy)
        column, headed = first.index(label), True
    if headed and len(set(first)) < len(first):
        twice = next(name for name in first if first.count(name) > 1)
        raise DataError(f"{path} has two columns {twice!r}", "a header names each column once", "rename one")
    if headed and not rest:
        raise DataError(f"{path} has a header and no rows", "a table has at least one row", "give data")
    names = first if headed else [str(k + 1) for k in range(len(first))]
    return _Table(path, names, column, rest if headed else rows)


def _is_header(first: list[str], labels_below: list[str]) -> bool:
    if all(_number(cell) is None for cell in first[:-1]):
        return True
    return _number(first[-1]) is None and bool(labels_below) and all(_number(label) is not None for label in labels_below)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    # Python reads 1_000, other programs don't.
    return value if math.isfinite(value) and "_" not in cell else None


def _check_box(path: Path, x: Matrix, table: _Table) -> None:
    low, high = x.min(0), x.max(0)
    outside: Any = np.flatnonzero((low < 0.0) | (high > 1.0))
    if len(outside):
        place = int(outside[0])
        raise DataError(
            f"{path}: column {table.feature_name(place)!r} ranges over [{low[place]:g}, {high[place]:g}]"
            + (f", and {len(outside) - 1} more columns leave the box" if len(outside) > 1 else ""),
            "eps is in input units, so features must lie in the box [0, 1]",
            'scale="minmax" maps each column\'s smallest and largest value to 0 and 1',
        )


def _minmax(x: Matrix) -> Matrix:
    span = x.max(0) - x.min(0)
    # A constant column says nothing: it becomes 0.
    scaled: Matrix = (x - x.min(0)) / np.where(span > 0, span, 1.0)
    return scaled
