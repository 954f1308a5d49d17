"""Arrays from .npz: types, parts, and that nothing in the file is ever run."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import load_data

RNG = np.random.default_rng(0)
X, Y = RNG.random((50, 3, 4)), np.arange(50) % 5


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_are_taken_as_they_are(tmp_path: Path, dtype: str) -> None:
    data = load_data(saved(tmp_path, x=X.astype(dtype), y=Y))
    assert (data.name, data.split, data.classes, data.x.dtype) == ("data.npz", "all", 5, torch.float32)
    assert torch.equal(data.x, torch.from_numpy(X.astype(dtype).astype(np.float32)))


def test_bytes_are_divided_by_255(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (6, 1, 2, 2), dtype=np.uint8)
    data = load_data(saved(tmp_path, x=x, y=Y[:6].astype(np.uint8)))
    assert torch.equal(data.x, torch.from_numpy(x).float() / 255)


def test_memory_order_and_compression_do_not_change_the_digest(tmp_path: Path) -> None:
    first = load_data(saved(tmp_path, x=X, y=Y)).digest
    np.savez_compressed(tmp_path / "other.npz", x=np.asfortranarray(X), y=Y.astype(np.int8))
    assert load_data(tmp_path / "other.npz").digest == first
    swap = np.r_[1, 0, 2:50]
    assert load_data(saved(tmp_path, x=X[swap], y=Y[swap])).digest != first
    assert load_data(saved(tmp_path, x=X, y=Y[swap])).digest != first


def test_skipped_classes_stay_classes(tmp_path: Path) -> None:
    assert load_data(saved(tmp_path, x=X[:3], y=np.array([0, 7, 2]))).classes == 8
    assert load_data(saved(tmp_path, x=X[:3], y=np.zeros(3, int))).classes == 2


def test_parts_of_its_own_are_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:] % 2)
    test = load_data(path, "test")
    assert torch.equal(test.x, torch.from_numpy(X[40:]).float())
    assert test.classes == load_data(path, "train").classes == 5
    assert [len(load_data(path, s)) for s in ("train", "validation", "test", "all", None)] == [35, 5, 10, 50, 50]


def test_a_whole_file_is_split_in_the_same_way_whatever_the_seed(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    assert [len(load_data(path, s)) for s in ("train", "validation", "test")] == [35, 5, 10]
    assert load_data(path, "test", seed=1).digest == load_data(path, "test", seed=2).digest


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def test_objects_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    objects = np.empty(1, dtype=object)
    objects[0] = Bomb(mark)
    for arrays in ({"x": objects, "y": Y[:1]}, {"x": X[:1], "y": objects}):
        path = saved(tmp_path, **arrays)
        with pytest.raises(DataError, match="pickle can run code") as caught:
            load_data(path)
        assert str(path) in caught.value.value
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(DataError, match=r"is no \.npz file"):
        load_data(path)
    # A pickle in front of a zip: the zip's directory stands at the end, so it is both.
    path.write_bytes(pickle.dumps(Bomb(mark)) + saved(tmp_path, x=X, y=Y).read_bytes())
    with pytest.raises(DataError, match="objects"):
        load_data(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # else the test would prove nothing
    assert mark.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "x and y are needed"),
        ({"inputs": X, "y": Y}, "holds the arrays inputs, y"),
        ({"x_train": X, "y_train": Y}, "y_test"),
        ({"x": X * 255, "y": Y}, "divide 8-bit values by 255"),
        ({"x": X - 0.5, "y": Y}, "outside the box"),
        ({"x": (X * 255).astype(int), "y": Y}, "x is int64"),
        ({"x": X.astype(str), "y": Y}, "inputs are floating point"),
        ({"x": X > 0.5, "y": Y}, "x is bool"),
        ({"x": np.where(X > 0.9, np.nan, X), "y": Y}, "NaN"),
        ({"x": X[:0], "y": Y[:0]}, "n >= 1"),
        ({"x": X[:, 0, 0], "y": Y}, r"shape \(50,\)"),
        ({"x": X, "y": Y[:49]}, "49"),
        ({"x": X, "y": Y.astype(float)}, "astype"),
        ({"x": X, "y": np.eye(5)[Y].astype(int)}, "argmax"),
        ({"x": X, "y": Y - 1}, "class numbers from 0"),
        ({"x": X, "y": Y * 10**9}, "class numbers from 0"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "one shape"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_data(path)
    assert str(path) in caught.value.value


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=X, y=Y)
    whole = path.read_bytes()
    flipped = whole[:400] + bytes([whole[400] ^ 255]) + whole[401:]
    for content in (b"", whole[:10], whole[: len(whole) // 2], whole[:-5], flipped, b"text"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="truncated"):
            load_data(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"abc")
        archive.writestr("y", b"abc")
    with pytest.raises(DataError, match="inputs are floating point"):
        load_data(path)
