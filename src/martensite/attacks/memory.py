"""How many samples fit in a device's memory at once, and whether a failure says that they did not."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from martensite.models.access import Model

SHARE = 0.5  # of the memory that is free, what one batch may fill: attacks keep points, gradients and candidates beside a pass
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
COPIES = 16  # float32 copies of the input that an attack is taken to hold
# Numbers that a pass and its gradients are taken to hold for each feature of an input, at most: of a WideResNet-28-10, 3,010.
KEPT, LEAST = 4096, 2**20  # and bytes a sample, at least
MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")  # of torch's allocators, where they raise RuntimeError


def most_samples(model: Model, x: Tensor) -> int | None:
    """How many samples like x (n, *d) a batch may hold; None where the system, or the model, doesn't say.

    It takes a pass of two samples, which leaves the global random streams as they were.
    """
    if (free := available(x.device)) is None or not len(x):
        return None
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        try:
            needed = _bytes_a_sample(model, x[:2])
        except Exception:  # whatever is wrong with the model, the run meets it and says so
            return None
    return max(int(SHARE * free / needed), 1)


def surely_fit(x: Tensor, batch: int) -> bool:
    """Whether so many samples like x (n, *d) fit in memory whatever the network is, so that no pass is needed to find out."""
    free = available(x.device)
    return free is None or not len(x) or batch * max(4 * (KEPT + COPIES) * x[0].numel(), LEAST) <= SHARE * free


def available(device: torch.device) -> int | None:
    """Free memory in bytes; None where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [amount for amount in (_in_machine(), _in_container()) if amount is not None]
    return min(free) if free else None


def out_of_memory(failure: BaseException) -> bool:
    """Whether a smaller batch may help."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(message in str(failure).lower() for message in MESSAGES)


def _in_machine() -> int | None:
    """What Linux could give without swapping, file caches included; what is free elsewhere."""
    try:
        kilobytes = next(line.split()[1] for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        return 1024 * int(kilobytes)
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on this system
        return None


def _in_container() -> int | None:
    """What a control group (version 2) leaves, file caches included; None without a limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        inside = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(limit - used + int(inside["inactive_file"]), 0)
    except (OSError, ValueError, KeyError):
        return None


def _bytes_a_sample(model: Model, x: Tensor) -> float:
    """What a forward pass keeps for its backward pass, twice over for the gradients of it, and the attack's own copies."""
    own = COPIES * 4.0 * x[0].numel()
    if not isinstance(model, nn.Module):
        return own
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(x.detach().to(model.dtype, copy=True).requires_grad_(True))
    return own + 2.0 * sum(kept.values()) / len(x)
