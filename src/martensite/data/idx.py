"""MNIST's own files: the idx format of LeCun, Cortes and Burges, gzip or plain. Every byte of the header is checked."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.split import check_split, hold_out

UBYTE = 0x08
GZIP = b"\x1f\x8b"
CLASSES = 10
VALIDATION_SHARE = 5 / 60
PREFIXES = {"train": ("train",), "validation": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


def load_mnist(folder: Path, split: str = "test") -> Dataset:
    """x (n, 1, H, W) in [0, 1], ten classes, of the files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``.

    Args:
        folder: Where they lie; only those that the split needs are read.
        split: ``"test"``: t10k; ``"validation"``: a stratified twelfth of train (5,000 of 60,000); ``"train"``: the rest of
            it; ``"all"``: train, then t10k.

    Raises:
        DataError: a file that is missing, truncated, corrupted, too long or of another kind, named in the message.
    """
    check_split(split)
    pairs = [_pair(folder, prefix) for prefix in PREFIXES[split]]
    images, labels = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    x = torch.from_numpy(images).to(torch.float32).div_(255.0).unsqueeze(1)
    data = Dataset(x, torch.from_numpy(labels.astype(np.int64)), CLASSES, "mnist", split)
    if split in ("train", "validation"):
        return hold_out(data, VALIDATION_SHARE)[split == "validation"]
    return data


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes with this many axes.

    Raises:
        DataError: see `load_mnist`.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == GZIP
        with gzip.open(path) if zipped else path.open("rb") as file:
            return _read(file, path, axes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a truncated or corrupted gzip file: {error}", remedy="fetch it again") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}", remedy="check the path") from None


def _read(file: Any, path: Path, axes: int) -> npt.NDArray[np.uint8]:
    magic, wanted = file.read(4), bytes((0, 0, UBYTE, axes))
    if magic != wanted:
        raise DataError(
            f"{path} starts with {magic.hex(' ') or 'nothing'}",
            f"an idx file of unsigned bytes with {axes} axes starts with {wanted.hex(' ')}",
            "is it the right file?",
        )
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError(
            f"{path} ends within its header", f"{axes} sizes of 4 bytes are needed", "it is truncated: fetch it again"
        )
    shape = struct.unpack(f">{axes}I", header)
    size = int(np.prod(shape, dtype=object))
    content = file.read()
    if len(content) != size:
        raise DataError(
            f"{path} holds {len(content)} bytes after its header",
            f"the header says {' x '.join(map(str, shape))} = {size}",
            "it is truncated or altered: fetch it again",
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _pair(folder: Path, prefix: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    image_path, label_path = _find(folder, f"{prefix}-images-idx3-ubyte"), _find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{label_path} holds {len(labels)} labels and {image_path.name} {len(images)} images",
            "there is one label an image",
            "fetch both again",
        )
    if labels.size and labels.max() >= CLASSES:
        raise DataError(f"{label_path} holds the label {labels.max()}", f"labels lie in 0..{CLASSES - 1}", "is it MNIST?")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no file {name} or {name}.gz", "MNIST comes as four idx files", "check the folder")
