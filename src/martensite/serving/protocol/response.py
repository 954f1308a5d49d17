"""Writing an answer: JSON, or JSON followed by raw tensors where binary was asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from martensite.serving.protocol import tensors
from martensite.serving.protocol.request import Query
from martensite.serving.refusal import Refusal

Values = npt.NDArray[Any] | list[str]


def write_answer(
    query: Query,
    model: str,
    version: str,
    id: str,
    values: Mapping[str, Values],
    parameters: Mapping[str, Any],
    digits: int | None = None,
) -> tuple[bytes, int | None]:
    """The body.

    Args:
        query: What was asked.
        model: Name.
        version: That answered.
        id: Of the request.
        values: Every output that there is, by name: an array, or texts.
        parameters: Of the answer.
        digits: Decimals that FP32 outputs are rounded to; None: they aren't.

    Returns:
        The body, and the length of its JSON part where tensors follow it.

    Raises:
        Refusal: 400, an output that there isn't.
    """
    wanted = query.outputs or dict.fromkeys(values, query.binary)
    if missing := next((name for name in wanted if name not in values), None):
        raise Refusal(400, f"there is no output {missing[:60]!r}", f"this model gives {', '.join(values)}")
    outputs, tail = [], []
    for name, binary in wanted.items():
        found = values[name]
        shape = [len(found)] if isinstance(found, list) else list(found.shape)
        tensor: dict[str, Any] = {"name": name, "datatype": tensors.datatype_of(found), "shape": shape}
        if binary:
            raw = tensors.to_bytes(found)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            tensor["data"] = found if isinstance(found, list) else _plain(found, digits)
        outputs.append(tensor)
    document = {"model_name": model, "model_version": version, "id": id, "parameters": parameters, "outputs": outputs}
    head = to_json(document, inf_nan_mode="null")
    return (head + b"".join(tail), len(head)) if tail else (head, None)


def _plain(values: npt.NDArray[Any], digits: int | None) -> list[Any]:
    if digits is not None and values.dtype == np.float32:
        values = np.round(values.astype(np.float64), digits)  # 0.38 as float32 would be written 0.3799999952316284
    found: list[Any] = values.ravel().tolist()
    return found
