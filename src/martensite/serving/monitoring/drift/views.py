"""The features of an input that drift tests look at one by one."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d

CELLS = 8  # a side that a picture's channel is pooled to
COLUMNS = 512  # of a table that are looked at; of a wider one those at even distances


def view(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, p) features of inputs (n, *d).

    A picture (C, H, W) has its channels' means over at most 8 x 8 cells, and then its mean, its contrast (standard deviation)
    and its sharpness (mean difference between neighbours), which noise changes where it changes no mean. Anything else has its
    columns.
    """
    flat = x.reshape(len(x), -1)
    if not _is_picture(x.shape[1:]):
        return flat[:, _columns(flat.shape[1])]
    size = (min(CELLS, x.shape[2]), min(CELLS, x.shape[3]))
    cells = adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(x)), size).numpy().reshape(len(x), -1)
    down, right = np.abs(np.diff(x, axis=2)).mean((1, 2, 3)), np.abs(np.diff(x, axis=3)).mean((1, 2, 3))
    return np.column_stack([cells, flat.mean(1), flat.std(1), (down + right) / 2])


def names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """What the features of an input of this shape are called."""
    if not _is_picture(shape):
        return tuple(f"column {one}" for one in _columns(int(np.prod(shape))))
    rows, columns = min(CELLS, shape[1]), min(CELLS, shape[2])
    cells = [
        f"channel {channel}, cell {row},{column}"
        for channel in range(shape[0])
        for row in range(rows)
        for column in range(columns)
    ]
    return (*cells, "mean", "contrast", "sharpness")


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) > 1


def _columns(width: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, width - 1, min(width, COLUMNS)).round().astype(np.int64)
