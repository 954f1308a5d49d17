"""Gradients with entries that are no numbers, as those of a square root at zero, and what a search can still make of them."""

import torch
from torch import Tensor


def mended(gradient: Tensor) -> tuple[Tensor, int]:
    """The gradient without NaN and infinities, which would spoil every step, and for how many samples that took something.

    An infinite slope leads somewhere: it counts as much as the steepest finite one of its sample, or 1 where that is zero. NaN
    says nothing and becomes 0.

    Args:
        gradient: (n, *d).
    """
    if bool(gradient.sum().isfinite()):  # one pass, where all is well; a sum that overflows is looked at below
        return gradient, 0
    finite = gradient.isfinite()
    odd = int((~finite).flatten(1).any(1).sum())
    steepest = torch.where(finite, gradient, 0.0).flatten(1).abs().amax(1)
    steepest = torch.where(steepest > 0, steepest, 1.0).view(-1, *[1] * (gradient.dim() - 1))
    infinite = torch.where(gradient.isinf(), gradient.sign() * steepest, 0.0)
    return torch.where(finite, gradient, infinite), odd
