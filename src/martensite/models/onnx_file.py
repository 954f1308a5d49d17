"""An ONNX file as a model: answered by onnxruntime, by queries only.

The file is data, not code, and is run on the CPU by operators of onnxruntime's own; no custom operator library is loaded.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from martensite.core.errors import ArtifactError, ModelError
from martensite.core.files import sha256
from martensite.models.access import Access
from martensite.models.black_box import BlackBox
from martensite.threat.ball import Box

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def load_onnx(path: Path, classes: int | None = None, box: Box = (0.0, 1.0)) -> BlackBox:
    """A black box by scores: the file's first output of shape (n, K) with floating-point numbers.

    Args:
        path: The ``.onnx`` file, with one input (n, *d).
        classes: K; None: read from the file.
        box: Lowest and highest valid input value.

    Raises:
        ArtifactError: missing, or no ONNX model.
        ModelError: onnxruntime isn't installed; several inputs; no output of scores, or of another number of classes.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(f"{path} needs onnxruntime", "it is in an extra", "pip install 'martensite[onnx]'") from None
    try:
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the path of a .onnx file") from None
    except Exception as error:  # onnxruntime has a family of its own for each way a file can be broken
        raise ArtifactError(f"{path} can't be run: {str(error).splitlines()[0]}", "it is no ONNX model, or truncated") from None
    inputs, scores = session.get_inputs(), _scores(session.get_outputs())
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        raise ModelError(f"{path} has inputs {[(one.name, one.type) for one in inputs]}", "one floating-point input is needed")
    if scores is None:
        found = [(one.name, one.type, one.shape) for one in session.get_outputs()]
        raise ModelError(f"{path} has outputs {found}", "one of scores (n, K) in floating-point numbers is needed")
    known = scores.shape[1] if isinstance(scores.shape[1], int) else classes
    if known is None or (classes is not None and known != classes):
        raise ModelError(f"{path} has {known} classes and {classes} were stated", "both must agree", "check classes=")
    source = inputs[0]
    batch, rest = source.shape[0], source.shape[1:]
    shape = tuple(rest) if all(isinstance(side, int) for side in rest) else None

    def predict(x: npt.NDArray[np.float32]) -> Any:
        rows = x.astype(TYPES[source.type])
        if not isinstance(batch, int):
            return session.run([scores.name], {source.name: rows})[0]
        # A file of fixed batch size takes nothing else: the last part is filled up, and what was filled is dropped.
        full = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % batch, axis=0)])
        parts = [session.run([scores.name], {source.name: part})[0] for part in np.split(full, len(full) // batch)]
        return np.concatenate(parts)[: len(rows)]

    return BlackBox(predict, known, box, Access.SCORES, shape, digest=sha256(content))


def _scores(outputs: list[Any]) -> Any:
    return next((one for one in outputs if one.type in TYPES and len(one.shape or ()) == 2), None)
