"""A model looked at without a trace: evaluation mode, frozen parameters, and every flag as it was found afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from martensite.models.access import Model


@contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Evaluation mode and frozen parameters inside the block; every flag as it was found after it, also after an error."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    frozen = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        with _differentiable(model):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required in frozen:
            parameter.requires_grad_(required)


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """cuDNN has no backward pass for a recurrent layer in evaluation mode; torch's own kernels have."""
    cudnn = torch.backends.cudnn
    before = cudnn.enabled
    try:
        if before and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            cudnn.enabled = False
        yield
    finally:
        cudnn.enabled = before
