"""BPDA: a stage without a useful gradient gets the backward pass of another.

Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security", arXiv:1802.00420, sec. 4.1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from martensite.core.errors import ModelError


class StraightThrough(nn.Module):
    """Forward is the stage, backward is that of the surrogate: backward pass differentiable approximation.

    ``Classifier(nn.Sequential(StraightThrough(quantise), net), ...)`` can be attacked by every gradient attack.

    Args:
        stage: (n, *d) to any shape: a quantisation, JPEG, a denoiser, in whatever library. It sees tensors without a gradient.
        surrogate: A differentiable function of the same shapes, close to the stage; None: the identity.

    Raises:
        ModelError: when called, if stage and surrogate give different shapes.
    """

    def __init__(self, stage: Callable[[Tensor], Tensor], surrogate: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        # A module is registered by being assigned, so its parameters and flags belong to the model; a plain function is not.
        self.stage, self.surrogate = stage, surrogate

    def forward(self, x: Tensor) -> Tensor:
        """stage(x), with the gradient of surrogate(x)."""
        with torch.no_grad():
            through = self.stage(x.detach().clone()).to(x.dtype)
        if not torch.is_grad_enabled():
            return through
        smooth = x if self.surrogate is None else self.surrogate(x)
        if smooth.shape != through.shape:
            raise ModelError(
                f"the stage returns shape {tuple(through.shape)} and the surrogate {tuple(smooth.shape)}",
                "the backward pass goes through the surrogate, so the shapes must agree",
                "give a surrogate= of the stage's shape" if self.surrogate is None else "change one of them",
            )
        return _Instead.apply(through, smooth)  # type: ignore[no-any-return, no-untyped-call]


class _Instead(torch.autograd.Function):
    """The first argument's value, the second argument's gradient; ``a + (b - b.detach())`` would round."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor, smooth: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient[0]
