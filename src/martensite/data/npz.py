"""Arrays from a .npz file, never objects: a pickled array would run code when it is loaded."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.labels import count_classes
from martensite.data.split import check_split, hold_out, part

CORRUPTED = (zipfile.BadZipFile, zlib.error)
WHOLE = ("x", "y")
PARTED = ("x_train", "y_train", "x_test", "y_test")
VALIDATION_SHARE = 1 / 8


def load_npz(path: Path, split: str = "all") -> Dataset:
    """The data of a .npz file with the arrays ``x``, ``y``, or with ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    x is (n, *d), floating point in [0, 1] or uint8, which is divided by 255. y is (n,), class numbers from 0; the largest
    one decides how many classes there are. A file with a test part of its own keeps it, and an eighth of its training part
    is the validation part; any other file is split 0.7, 0.1, 0.2.

    Raises:
        DataError: a file that is missing, corrupted or no .npz, objects, missing arrays, wrong types.
    """
    check_split(split)
    names, arrays = _read(path)
    x = [_inputs(path, *named) for named in zip(names[::2], arrays[::2], strict=True)]
    y = [_labels(path, *named) for named in zip(names[1::2], arrays[1::2], strict=True)]
    if len({tuple(inputs.shape[1:]) for inputs in x}) > 1:
        raise DataError(
            f"{path} has training inputs {tuple(x[0].shape)} and test inputs {tuple(x[1].shape)}",
            "their samples must have one shape",
        )
    data = [Dataset(a, b, count_classes(torch.cat(y)), path.name) for a, b in zip(x, y, strict=True)]
    if names == WHOLE:
        return part(data[0], split)
    if split == "all":
        return Dataset(torch.cat(x), torch.cat(y), data[0].classes, path.name)
    if split == "test":
        return data[1].subset(slice(None), "test")
    return hold_out(data[0], VALIDATION_SHARE)[split == "validation"]


def _read(path: Path) -> tuple[tuple[str, ...], list[npt.NDArray[Any]]]:
    """The arrays that make up the data, and their names. numpy unpickles nothing: see ``allow_pickle``."""
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"{path} is no .npz file, or a truncated one",
                "a .npz is a zip of arrays; anything else, such as a pickle, could run code and is not loaded",
                "save it with np.savez(FILE, x=x, y=y)",
            )
        with np.load(path, allow_pickle=False) as archive:
            names = WHOLE if {*WHOLE} <= {*archive.files} else PARTED
            if not {*names} <= {*archive.files}:
                raise DataError(
                    f"{path} holds the arrays {', '.join(sorted(archive.files)) or 'none'}",
                    "x and y are needed, or x_train, y_train, x_test and y_test",
                    "save it with np.savez(FILE, x=x, y=y)",
                )
            return names, [np.asarray(archive[name]) for name in names]
    except (OSError, EOFError, ValueError, MemoryError, KeyError, RuntimeError, *CORRUPTED) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects",
                "objects are pickles, and a pickle can run code when it is loaded: none was loaded",
                "save plain arrays: floats or uint8 for x, integers for y",
            ) from None
        reason = str(error).strip() or type(error).__name__
        raise DataError(f"{path} can't be read: {reason}", "it is truncated or corrupted", "save or fetch it again") from None


def _inputs(path: Path, name: str, array: npt.NDArray[Any]) -> Tensor:
    if array.dtype == np.uint8:
        return torch.from_numpy(array).to(torch.float32).div_(255.0)
    if array.dtype.kind != "f":
        raise DataError(
            f"{path}: {name} is {array.dtype}",
            "inputs are floating point in [0, 1], or uint8, which is divided by 255",
            f"save {name}.astype('float32'), scaled to [0, 1]",
        )
    return torch.from_numpy(array.astype(np.float32))


def _labels(path: Path, name: str, array: npt.NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise DataError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}",
            "labels are integers (n,), class numbers from 0",
            f"save {name}.argmax(1) for one-hot rows, {name}.astype('int64') for whole floats",
        )
    return torch.from_numpy(array.astype(np.int64))
