"""How many samples fit in a device's memory at once, and whether a failure says that they did not."""

import os

import torch
from torch import Tensor, nn

from martensite.models.access import Model

SHARE = 0.5  # of the memory that is free, what one batch may fill: attacks keep points, gradients and candidates beside a pass
COPIES = 16  # float32 copies of the input that an attack is taken to hold
MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")  # of torch's allocators, where they raise RuntimeError


def most_samples(model: Model, x: Tensor) -> int | None:
    """How many samples like x (n, *d) a batch may hold; None where the system doesn't say what is free."""
    free = available(x.device)
    return None if free is None else max(int(SHARE * free / _bytes_a_sample(model, x[:2])), 1)


def available(device: torch.device) -> int | None:
    """Free memory in bytes; None where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on this system
        return None


def out_of_memory(failure: BaseException) -> bool:
    """Whether a smaller batch may help."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(message in str(failure).lower() for message in MESSAGES)


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
