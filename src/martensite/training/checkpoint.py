"""Everything a killed training run needs to go on as if nothing had happened, in one safetensors file.

The state, the best weights so far, the guards' last good state, and the tensors that belong to training samples. Random streams
and learning rates need no saving: they are functions of seed, position and sample index.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from martensite.core.errors import ArtifactError, RunError
from martensite.core.files import write_bytes
from martensite.training.state import Snapshot, under

OWN = ("net.", "state.", "optimiser.", "average.")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        now: The state.
        good: The guards' last good state; None: it is ``now``, or there are no guards.
        best: The best weights so far.
        memory: Tensors by training sample.
        record: JSON: the best score, the ledger, what guards did.
    """

    now: Snapshot
    good: Snapshot | None
    best: dict[str, Tensor]
    memory: dict[str, Tensor]
    record: dict[str, Any]


def write_checkpoint(path: Path, key: str, checkpoint: Checkpoint) -> None:
    """Write atomically; ``key`` names the configuration that the checkpoint belongs to."""
    tensors = dict(checkpoint.now.tensors)
    tensors |= {f"best.{name}": tensor for name, tensor in checkpoint.best.items()}
    tensors |= {f"memory.{name}": tensor for name, tensor in checkpoint.memory.items()}
    if checkpoint.good is not None:
        tensors |= {f"good.{name}": tensor for name, tensor in checkpoint.good.tensors.items()}
    meta = {
        "key": key,
        "epoch": str(checkpoint.now.record["epoch"]),
        "now": json.dumps(checkpoint.now.record),
        "good": json.dumps(None if checkpoint.good is None else checkpoint.good.record),
        "record": json.dumps(checkpoint.record),
    }
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    write_bytes(path, save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, meta))


def read_checkpoint(path: Path, key: str) -> Checkpoint:
    """What `write_checkpoint` wrote.

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
        found = meta["key"]
        now, good, record = (json.loads(meta[name]) for name in ("now", "good", "record"))
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
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(OWN)}
    return Checkpoint(
        Snapshot(own, now),
        None if good is None else Snapshot(under("good.", tensors), good),
        under("best.", tensors),
        under("memory.", tensors),
        record,
    )
