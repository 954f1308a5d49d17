"""What computes the logits: torch as the bundle was saved, or ONNX Runtime on the same network."""

import io
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from martensite.core.errors import ConfigError, ModelError
from martensite.defenses import Defended
from martensite.models import Classifier
from martensite.models.passes import PASS, by_parts
from martensite.serving.outcome import Outcome

Kind = Literal["torch", "onnxruntime"]
Backend = Callable[[npt.NDArray[np.float32]], Outcome]
Logits = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
TOLERANCE = 1e-3  # of the largest logit: ONNX Runtime adds up in another order


def make_backend(kind: Kind, model: Classifier, probe: npt.NDArray[np.float32]) -> Backend:
    """The function from inputs (n, *d) float32 to what the model makes of them, its defences included.

    Args:
        kind: Which.
        model: In evaluation mode.
        probe: (n, *d) inputs on which ONNX Runtime has to give what torch gives.

    Raises:
        ConfigError: onnxruntime isn't installed.
        ModelError: the network can't be exported, computes something else there, or has defences, which torch computes.
    """
    if isinstance(model, Defended):
        if kind != "torch":
            names = ", ".join(model.defence.names)
            raise ModelError(f"the model has the defences {names}", "they are computed by torch", "use the back end torch")
        return _defended(model)
    plain = _torch(model)
    if kind == "torch":
        return lambda x: Outcome.plain(plain(x))
    other = _onnxruntime(model, probe)
    expected, found = plain(probe), other(probe)
    off = float(np.abs(expected - found).max()) if found.shape == expected.shape else float("inf")
    if not off <= TOLERANCE * max(float(np.abs(expected).max()), 1e-6):
        raise ModelError(f"ONNX Runtime's logits are off by {off:.2g}", "both back ends are the same model", "use torch")
    return lambda x: Outcome.plain(other(x))


def _defended(model: Defended) -> Backend:
    def compute(x: npt.NDArray[np.float32]) -> Outcome:
        with torch.inference_mode():
            return Outcome.of(model.respond(torch.from_numpy(x)))

    return compute


def _torch(model: Classifier) -> Logits:
    dtype, device = model.dtype, model.device

    def compute(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits = by_parts(model, torch.from_numpy(x).to(device, dtype))
            return logits.float().cpu().numpy()

    return compute


def _onnxruntime(model: Classifier, probe: npt.NDArray[np.float32]) -> Logits:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise ConfigError("the back end onnxruntime needs onnx and onnxruntime", "", "pip install 'martensite[onnx]'") from None
    if model.dtype != torch.float32:
        raise ModelError(f"the weights are {model.dtype}", "ONNX Runtime serves float32 here", "use the back end torch")
    buffer: Any = io.BytesIO()  # taken by the exporter, though its annotation forgets it
    axes = {"x": {0: "n"}, "logits": {0: "n"}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's talk, and that another exporter is the default now
            torch.onnx.export(
                model.cpu(), (torch.from_numpy(probe),), buffer, dynamo=False, input_names=["x"], output_names=["logits"],
                dynamic_axes=axes,
            )  # fmt: skip
    except Exception as error:  # each operator that can't be exported has a complaint of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the network can't be exported to ONNX: {reason}", "", "use the back end torch") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])

    def compute(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        parts = [session.run(["logits"], {"x": x[start : start + PASS]})[0] for start in range(0, len(x), PASS)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return compute
