"""Everything a killed training run needs to go on as if nothing had happened, in one safetensors file.

Model, best model so far, optimiser and progress. The random streams and the learning rate need no saving: they are functions of
seed, epoch and sample index.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from martensite.core.errors import ArtifactError, RunError
from martensite.core.files import write_bytes


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a whole number of epochs.

    Attributes:
        epoch: Epochs finished.
        best: Weights of the best epoch so far.
        record: JSON: history, best score and pass counts.
    """

    epoch: int
    best: dict[str, Tensor]
    record: dict[str, Any]


def write_checkpoint(path: Path, key: str, net: nn.Module, optimiser: Optimizer, progress: Progress) -> None:
    """Write atomically; ``key`` names the configuration that the checkpoint belongs to."""
    state = optimiser.state_dict()
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimiser.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items() if value is not None}
    meta = {
        "key": key,
        "epoch": str(progress.epoch),
        "record": json.dumps(progress.record),
        "groups": json.dumps([group["params"] for group in state["param_groups"]]),
    }
    write_bytes(path, save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, meta))


def read_checkpoint(path: Path, key: str, net: nn.Module, optimiser: Optimizer) -> Progress:
    """Load weights and optimiser state in place.

    Raises:
        ArtifactError: unreadable, truncated or no checkpoint.
        RunError: it belongs to another configuration.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the path of a checkpoint file") from None
    try:
        tensors, length = load(content), int.from_bytes(content[:8], "little")
        meta = json.loads(content[8 : 8 + length])["__metadata__"]
        found, epoch, record = meta["key"], int(meta["epoch"]), json.loads(meta["record"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is no checkpoint: {error}", "it is truncated or altered", "delete it to start over"
        ) from None
    if found != key:
        raise RunError(
            f"{path} is a checkpoint of another configuration",
            "resuming needs the same data, model, objective and settings",
            "give another checkpoint path, or delete it to start over",
        )
    net.load_state_dict(_under("net.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimiser.", tensors).items():
        index, _, slot = name.partition(".")
        state.setdefault(int(index), {})[slot] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return Progress(epoch, _under("best.", tensors), record)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
