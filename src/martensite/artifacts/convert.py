"""From a torch checkpoint to a bundle: scanned first, read by torch's ``weights_only`` unpickler, saved as safetensors."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from martensite.artifacts.bundle import check_savable, save_bundle
from martensite.artifacts.manifest import read_manifest
from martensite.artifacts.scan import ScanReport, scan
from martensite.artifacts.weights import parse_tensors, read_file
from martensite.core.acts import Act, recorded
from martensite.core.errors import ArtifactError, ModelError
from martensite.core.files import sha256
from martensite.models import Architecture, Classifier

# Where training scripts put the weights, most specific first.
KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # what DataParallel, torch.compile and Lightning put before names
ANSWERS = {
    "onnx": "ONNX holds a graph and not the names of an architecture. Convert the checkpoint that it was exported from",
    "torchscript": "TorchScript holds code. Where it is safe: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt'), "
    "and convert that",
    "keras-h5": "Convert the weights in Keras: safetensors.numpy.save_file of the arrays, named as the torch module names them",
    "gguf": "GGUF holds quantised language models, of which no bundle can be made",
}


@dataclass(frozen=True)
class Converted:
    """What became of a checkpoint.

    Attributes:
        bundle: The folder.
        report: Of the scan before it.
        key: Where in the checkpoint the weights lay; empty: at the top.
        prefix: What was taken off their names.
    """

    bundle: Path
    report: ScanReport
    key: str
    prefix: str


def _converted(given: Mapping[str, Any], done: Converted | None) -> Act:
    source = sha256(read_file(Path(given["source"]), "give a checkpoint"))
    details = {"source": source, "architecture": given["architecture"].kind}
    if done is None:
        return Act(name=Path(given["target"]).name, details=details)
    return Act("model", read_manifest(done.bundle).digest, done.bundle.name, details=details)


@recorded("convert", _converted, announced=True)
def convert(
    source: str | Path,
    target: str | Path,
    architecture: Architecture,
    shape: tuple[int, ...],
    classes: int,
    *,
    key: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    box: tuple[float, float] = (0.0, 1.0),
    class_names: tuple[str, ...] = (),
) -> Converted:
    """Read a checkpoint of ``torch.save``, or a safetensors file, and write the bundle of the model.

    Args:
        source: The file.
        target: Folder of the bundle.
        architecture: The registered architecture that the weights are for.
        shape: Shape of one input.
        classes: K.
        key: Where in the checkpoint the weights lie (``"ema.state_dict"``); None: where scripts usually put them.
        mean: Subtracted inside the model, one value or one a channel.
        std: Divided by inside the model.
        box: Lowest and highest valid input value.
        class_names: One a class.

    Raises:
        ArtifactError: the scan calls the file dangerous, it is of another format, or it holds more than ``weights_only`` reads.
        ModelError: the weights don't fit the architecture.
    """
    source = Path(source)
    report = scan(source, digests=True)
    _refuse(source, report)
    content = read_file(source, "give a checkpoint")
    if sha256(content) != report.files[0].digest:
        raise ArtifactError(f"{source} changed after it was scanned", "what is read is what was scanned", "run it again")
    document = parse_tensors(source, content) if "safetensors" in report.files[0].formats else _load(source, content)
    tensors, where = _find(source, document, key)
    with torch.random.fork_rng(devices=[]):
        net = architecture.module(shape, classes)
    tensors, prefix = _fit(source, tensors, net)
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kinds) > 1:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise ModelError(f"{source} holds weights in {names}", "a bundle has one precision", "convert them to one type first")
    net = net.to(kinds.pop() if kinds else torch.float32)
    net.load_state_dict(tensors)
    model = Classifier(net, classes, mean, std, box, shape, architecture).eval()
    check_savable(model, target)
    return Converted(save_bundle(model, target, class_names=class_names), report, where, prefix)


def _refuse(source: Path, report: ScanReport) -> None:
    """Say no, with what can be done instead, before anything is read."""
    formats = report.files[0].formats
    worst = next((finding for finding in report.findings if finding.severity == "dangerous"), None)
    if worst is not None:
        raise ArtifactError(f"{source} is dangerous: {worst.reason}", "no such file is loaded", worst.remedy)
    if not any(kind in formats for kind in ("torch", "torch-legacy", "safetensors", "pickle")) or "torchscript" in formats:
        known = next((kind for kind in ANSWERS if kind in formats), "")
        what = known or (formats[0] if formats else "of no known format")
        remedy = ANSWERS.get(known, "give a file of torch.save, or safetensors")
        raise ArtifactError(f"{source} is {what}", "a checkpoint of torch.save or a safetensors file is converted", remedy)


def _load(source: Path, content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        reason = reason.split("WeightsUnpickler error: ")[-1].split(". Please")[0][:200]
        raise ArtifactError(
            f"{source} can't be read with weights_only=True: {reason}",
            "it holds more than tensors and plain values, or is broken",
            "where it was made: torch.save(model.state_dict(), 'weights.pt'), and convert that",
        ) from None


def _find(source: Path, document: Any, key: str | None) -> tuple[dict[str, Tensor], str]:
    """The state dict, and where it lay."""
    if key is not None:
        for part in key.split("."):
            if not isinstance(document, Mapping) or part not in document:
                there = ", ".join(map(str, document)) if isinstance(document, Mapping) else type(document).__name__
                raise ArtifactError(f"{source} has no {key!r}", f"there is: {there[:300]}", "check --key")
            document = document[part]
    if _is_state(document):
        return dict(document), key or ""
    if isinstance(document, Mapping) and key is None:
        for name in KEYS:
            if _is_state(document.get(name)):
                return dict(document[name]), name
    there = ", ".join(map(str, document)) if isinstance(document, Mapping) else type(document).__name__
    raise ArtifactError(f"{source} holds no weights by name", f"there is: {there[:300]}", "say where they lie: --key NAME")


def _is_state(document: Any) -> bool:
    return (
        isinstance(document, Mapping)
        and len(document) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in document.items())
    )


def _fit(source: Path, tensors: dict[str, Tensor], net: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Weights by the architecture's names, and the prefix that was taken off.

    Raises:
        ModelError: names or shapes differ.
    """
    wanted, prefix = net.state_dict(), ""
    while not wanted.keys() & tensors.keys():
        common = next((one for one in PREFIXES if all(name.startswith(one) for name in tensors)), None)
        if common is None:
            break
        prefix += common
        tensors = {name.removeprefix(common): tensor for name, tensor in tensors.items()}
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        what = f"has no weight {odd[0]!r}" if odd[0] in wanted else f"has a weight {odd[0]!r} that the architecture hasn't"
        rule = f"{len(odd)} names differ: there {_some(tensors)}; wanted {_some(wanted)}"
        raise ModelError(f"{source} {what}", rule, "give the architecture it was trained with: --arch, --set")
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            raise ModelError(
                f"{name} of {source} is {tuple(tensors[name].shape)}",
                f"the architecture has {tuple(tensor.shape)}",
                "check --shape, --classes and the architecture's parameters (--set)",
            )
    return {name: tensors[name].contiguous() for name in wanted}, prefix


def _some(names: Mapping[str, Tensor]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
