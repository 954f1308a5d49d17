"""Everything a killed training run needs to go on as if nothing had happened, in one safetensors file.

The state, the best weights so far, the guards' last good state, and the tensors that belong to training samples. Random streams
and learning rates need no saving: they are functions of seed, position and sample index. A digest over all of it tells a file
that a disk or a copy has changed.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from martensite.core.errors import ArtifactError, RunError
from martensite.core.files import whole_file
from martensite.training.state import Snapshot, under

OWN = ("net.", "state.", "optimiser.", "average.")
BLANK = "0" * 64  # in the digest's place, while it is computed


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
        "digest": BLANK,
    }
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, meta)
    header, rest = _parts(content)
    with whole_file(path) as file:
        file.write(_sealed(header, BLANK, _digest(header, rest)))
        file.write(rest)


def read_checkpoint(path: Path, key: str) -> Checkpoint:
    """What `write_checkpoint` wrote.

    Raises:
        ArtifactError: unreadable, truncated, altered or no checkpoint.
        RunError: it belongs to another configuration.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the path of a checkpoint file") from None
    try:
        header, rest = _parts(content)
        meta = json.loads(header[8:])["__metadata__"]
        if _digest(_sealed(header, meta["digest"], BLANK), rest) != meta["digest"]:
            raise ArtifactError(
                f"{path} is a damaged checkpoint",
                "its content isn't what its digest was made of: it is truncated or altered",
                "put an intact copy in its place, or delete it to start over",
            )
        tensors, found = load(content), meta["key"]
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


def _parts(content: bytes) -> tuple[bytes, memoryview]:
    """The header with its length before it, and the tensors; those are large, and not copied."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:end], memoryview(content)[end:]


def _sealed(header: bytes, old: str, new: str) -> bytes:
    """The header with another digest in it; quotes inside its other texts are escaped, so that this finds no other place."""
    return header.replace(f'"digest":"{old}"'.encode(), f'"digest":"{new}"'.encode())


def _digest(header: bytes, rest: memoryview) -> str:
    """Of a whole file whose header has `BLANK` for a digest."""
    digest = hashlib.sha256(header)
    digest.update(rest)
    return digest.hexdigest()
