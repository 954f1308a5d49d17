"""What a model answers to inputs, batch by batch, looked at without a trace."""

import torch
from torch import Tensor

from martensite.models import Model, undisturbed

BATCH = 250


def answers(model: Model, x: Tensor) -> Tensor:
    """(n, K) scores of x (n, *d), float32 or wider, on the CPU."""
    with undisturbed(model), torch.inference_mode():
        parts = [model(part.to(model.device, model.dtype, copy=True)) for part in torch.split(x, BATCH)]
    logits = torch.cat(parts).cpu()
    return logits if logits.dtype == torch.float64 else logits.float()
