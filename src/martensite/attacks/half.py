"""Gradients through a float16 model: below 6e-8, where a confident sample's lie, float16 has no numbers left."""

import torch
from torch import Tensor

from martensite.attacks.losses import Loss


def through_half(loss: Loss, logits: Tensor, leaf: Tensor) -> Tensor:
    """The gradient (n, *d) of ``loss(logits)`` with respect to ``leaf``, sent back through the model at unit size.

    Args:
        loss: Logits (n, K) to one number a sample.
        logits: (n, K) of a graph that starts at ``leaf``.
        leaf: (n, *d) what to differentiate by.
    """
    outer = logits.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(outer).sum(), outer)
    size = slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    (gradient,) = torch.autograd.grad(logits, leaf, slope / size)
    return gradient * size.view(-1, *[1] * (leaf.dim() - 1))
