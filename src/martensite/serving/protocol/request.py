"""Reading an inference request: every part of it is looked at before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from martensite.serving.protocol import tensors
from martensite.serving.refusal import Refusal

HEADER_LENGTH = "inference-header-content-length"
LONGEST = 256  # characters of an id
DIMENSIONS = 16


@dataclass(frozen=True)
class Query:
    """An inference request.

    Attributes:
        x: The one input, in the type it came in.
        id: As the client named it; ``""``: it didn't.
        name: Of the input.
        outputs: Name of each that was asked for to whether it is wanted in binary; empty: all.
        binary: All outputs are wanted in binary.
    """

    x: npt.NDArray[Any]
    id: str
    name: str
    outputs: Mapping[str, bool] = field(default_factory=dict)
    binary: bool = False


def read_query(body: bytes, header_length: str | None, text: int | None = None) -> Query:
    """An inference request from its body.

    Args:
        body: The whole.
        header_length: The header Inference-Header-Content-Length, where tensors follow the JSON in binary.
        text: Most bytes of JSON; None: any number.

    Raises:
        Refusal: 400, with what is wrong with it; 413, too much JSON.
    """
    size = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 12 or int(header_length) > size:
            raise Refusal(400, f"Inference-Header-Content-Length is {header_length[:40]!r}", f"the body has {size} bytes")
        size = int(header_length)
    if text is not None and size > text:
        raise Refusal(413, f"{size} bytes of JSON", f"at most {text} are read", "send tensors in binary, or split the request")
    try:
        document = from_json(body[:size], allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON: {str(error)[:200]}", "a request is a JSON object") from None
    if not isinstance(document, dict):
        raise Refusal(400, "the body is no JSON object", "a request is a JSON object with 'inputs'")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, "inputs is not a list of one tensor", "a model takes one input", "see the model's metadata")
    identity = document.get("id", "")
    if not isinstance(identity, str) or len(identity) > LONGEST:
        raise Refusal(400, "id is no short text", f"an id is a text of at most {LONGEST} characters")
    x, name = _tensor(inputs[0], memoryview(body)[size:])
    parameters = _parameters(document, "the request")
    outputs = document.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in outputs):
        raise Refusal(400, "outputs is no list of named outputs", "each is an object with a name")
    binary = _flag(parameters, "binary_data_output")
    wanted = {one["name"]: _flag(_parameters(one, one["name"]), "binary_data", binary) for one in outputs}
    return Query(x, identity, name, wanted, binary)


def _tensor(document: dict[str, Any], rest: memoryview) -> tuple[npt.NDArray[Any], str]:
    name, datatype, shape = document.get("name"), document.get("datatype"), document.get("shape")
    if not isinstance(name, str):
        raise Refusal(400, "the input has no name", "a tensor has a name, a datatype, a shape and data")
    if not isinstance(datatype, str) or datatype not in tensors.DATATYPES:
        raise Refusal(400, f"the datatype of {name[:60]!r} is {str(datatype)[:40]!r}", f"known: {', '.join(tensors.DATATYPES)}")
    whole = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if not whole or not isinstance(shape, list) or not 0 < len(shape) <= DIMENSIONS:
        raise Refusal(400, f"the shape of {name[:60]!r} is {str(shape)[:80]}", "a shape is a list of whole numbers")
    if prod(shape) > 2**40:
        raise Refusal(400, f"the shape of {name[:60]!r} is {str(shape)[:80]}", "no body holds so many numbers")
    parameters = _parameters(document, name)
    size = parameters.get("binary_data_size")
    if size is None:
        if len(rest):
            raise Refusal(400, f"{len(rest)} bytes follow the JSON", "an input says binary_data_size where it is in binary")
        return tensors.from_json(document.get("data"), datatype, shape, name), name
    if "data" in document or type(size) is not int or size != len(rest):
        raise Refusal(400, f"binary_data_size of {name[:60]!r} is {str(size)[:40]}", f"{len(rest)} bytes follow, and no 'data'")
    return tensors.from_bytes(rest, datatype, shape, name), name


def _parameters(document: dict[str, Any], what: str) -> dict[str, Any]:
    found = document.get("parameters", {})
    if not isinstance(found, dict):
        raise Refusal(400, f"the parameters of {what[:60]} are no object", "parameters are names with values")
    return found


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name} is {str(value)[:40]!r}", "it is true or false")
    return value


def as_float(x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float32; what it can't hold becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, dtype=np.float32)
