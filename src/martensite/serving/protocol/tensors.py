"""Tensors on the wire: names of types, JSON data, raw bytes (little endian, rows in order)."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from martensite.serving.refusal import Refusal

DATATYPES: dict[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
NUMBERS = frozenset("fiub")
ELEMENTS = frozenset((int, float, bool))


def from_json(data: Any, datatype: str, shape: Sequence[int], name: str) -> npt.NDArray[Any]:
    """Numbers of a JSON array, flat or nested as the shape is.

    Raises:
        Refusal: 400, no numbers, ragged, or of another shape.
    """
    try:
        # Looked at before: numpy gives every element the width of the longest text, so a small body would fill the memory.
        found = np.array(data) if isinstance(data, list) and _plain(data) else np.empty(0, dtype=object)
    except (ValueError, OverflowError):
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in NUMBERS:
        raise Refusal(400, f"the data of {name!r} are no array of numbers", "a tensor's data are numbers, row by row")
    if found.size != prod(shape) or (found.ndim > 1 and found.shape != tuple(shape)):
        raise Refusal(400, f"{name!r} has data of shape {list(found.shape)}", f"its shape is said to be {list(shape)}")
    wanted = np.dtype(DATATYPES[datatype])
    if found.size and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if found.dtype.kind == "f" and found.max() >= 2.0**63:  # numpy makes floats of whole numbers on both sides of 2^63
            exact = np.array(data, dtype=object)
            found = exact if all(type(one) is int for one in exact.flat) else found
        if found.dtype.kind == "f" or int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise Refusal(400, f"{name!r} holds what is no {datatype}", "data are of the datatype that the tensor names")
    with np.errstate(over="ignore"):
        return found.astype(wanted).reshape(shape)


def _plain(data: list[Any]) -> bool:
    """Numbers, or lists of such and nothing else."""
    kinds = set(map(type, data))
    return kinds <= ELEMENTS or (kinds == {list} and all(map(_plain, data)))


def from_bytes(raw: memoryview, datatype: str, shape: Sequence[int], name: str) -> npt.NDArray[Any]:
    """Numbers from raw bytes, without a copy.

    Raises:
        Refusal: 400, as many bytes as the shape doesn't have.
    """
    wanted = np.dtype(DATATYPES[datatype])
    if len(raw) != prod(shape) * wanted.itemsize:
        raise Refusal(
            400, f"{name!r} has {len(raw)} bytes", f"{datatype} of shape {list(shape)} has {prod(shape) * wanted.itemsize}"
        )
    return np.frombuffer(raw, dtype=wanted).reshape(shape)


def to_bytes(values: npt.NDArray[Any] | list[str]) -> bytes:
    """Raw bytes; texts each after their length (4 bytes)."""
    if isinstance(values, list):
        texts = [one.encode() for one in values]
        return b"".join(len(one).to_bytes(4, "little") + one for one in texts)
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def datatype_of(values: npt.NDArray[Any] | list[str]) -> str:
    """FP32 and so on; BYTES for texts."""
    if isinstance(values, list):
        return "BYTES"
    kind = {"f": "FP", "i": "INT", "u": "UINT"}[values.dtype.kind]
    return f"{kind}{8 * values.dtype.itemsize}"
