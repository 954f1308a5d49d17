"""MNIST's format: a good file is read to the bit, a bad one is named."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import load_data
from martensite.data.idx import read_idx

MNIST = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 6), dtype=np.uint8)
LABELS = (np.arange(40) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.tile(IMAGES, (3, 1, 1)))))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.tile(LABELS, 3)))
    return tmp_path


def test_gzip_and_plain_files_are_read_to_the_bit(folder: Path) -> None:
    data = load_data(f"mnist:{folder}")
    assert (data.shape, data.classes, data.name, data.split) == ((1, 5, 6), 10, "mnist", "test")
    assert torch.equal((data.x * 255).round().to(torch.uint8)[:, 0], torch.from_numpy(IMAGES))
    assert data.y.tolist() == LABELS.tolist()


def test_train_and_validation_come_out_of_train(folder: Path) -> None:
    train, validation = load_data(f"mnist:{folder}", "train"), load_data(f"mnist:{folder}", "validation")
    assert (len(train), len(validation)) == (110, 10)
    assert torch.bincount(validation.y).tolist() == [1] * 10
    assert len(load_data(f"mnist:{folder}", "all")) == 160


def test_only_the_files_of_the_split_are_needed(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").unlink()
    assert len(load_data(f"mnist:{folder}", "test")) == 40
    with pytest.raises(DataError, match="no file train-images-idx3-ubyte or"):
        load_data(f"mnist:{folder}", "train")


GOOD = idx(IMAGES)
BAD = {
    "empty": (b"", "starts with nothing"),
    "text": (b"hello world, this is text", "starts with 68 65 6c 6c"),
    "labels": (idx(LABELS), "3 axes starts with 00 00 08 03"),
    "floats": (b"\0\0\x0d\3" + GOOD[4:], "unsigned bytes"),
    "half a header": (GOOD[:10], "ends within its header"),
    "truncated": (GOOD[:-1], "truncated or altered"),
    "too long": (GOOD + b"\0", "truncated or altered"),
    "an absurd size": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "truncated or altered"),
    "truncated gzip": (gzip.compress(GOOD)[:-20], "truncated or corrupted gzip"),
    "half a gzip": (gzip.compress(GOOD)[:100], "truncated or corrupted gzip"),
    "corrupted gzip": (gzip.compress(GOOD)[:60] + b"\0" * 40 + gzip.compress(GOOD)[100:], "truncated or corrupted gzip"),
    "only the gzip magic": (b"\x1f\x8b", "truncated or corrupted gzip"),
    "another count": (idx(IMAGES[:39]), "40 labels and t10k-images-idx3-ubyte 39 images"),
    "no image": (idx(IMAGES[:0]), "0 images"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named(folder: Path, case: str) -> None:
    content, message = BAD[case]
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_data(f"mnist:{folder}")
    assert str(path.parent) in caught.value.value
    assert path.name in str(caught.value)


def test_labels_beyond_nine_are_refused(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(LABELS + 1))
    with pytest.raises(DataError, match="holds the label 10"):
        load_data(f"mnist:{folder}")


def test_a_folder_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_idx(tmp_path, 3)
    with pytest.raises(DataError, match="four idx files"):
        load_data(f"mnist:{tmp_path / 'nowhere'}")


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST's files are not beside the checkout")
def test_the_real_mnist() -> None:
    test = load_data(f"mnist:{MNIST}")
    assert (len(test), test.shape) == (10_000, (1, 28, 28))
    assert torch.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert float(test.x.mean()) == pytest.approx(0.1325, abs=1e-4)
    validation = load_data(f"mnist:{MNIST}", "validation")
    assert len(validation) == 5000
    assert torch.bincount(validation.y).tolist() == [494, 562, 496, 511, 487, 452, 493, 522, 487, 496]
