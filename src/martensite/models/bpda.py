"""BPDA: a stage without a useful gradient gets the backward pass of another.

Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security", arXiv:1802.00420, sec. 4.1.
"""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from martensite.core.config import nearest
from martensite.core.errors import ModelError

Stage = Callable[[Tensor], Tensor]
M = TypeVar("M", bound=nn.Module)


class BPDA(nn.Module):
    """Forward is the stage, backward is that of the surrogate: backward pass differentiable approximation.

    ``Classifier(nn.Sequential(BPDA(quantise), net), ...)`` can be attacked by every gradient attack. With the identity for a
    surrogate this is the straight-through estimator, and `StraightThrough` another name for it.

    Args:
        stage: (n, *d) to any shape: a quantisation, JPEG, a denoiser, in whatever library. It sees tensors without a gradient.
        surrogate: A differentiable function of the same shapes, close to the stage; None: the identity.

    Raises:
        ModelError: when called, if stage and surrogate give different shapes.
    """

    def __init__(self, stage: Stage, surrogate: Stage | None = None) -> None:
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


StraightThrough = BPDA


def with_bpda(model: M, stage: str, surrogate: Stage | None = None) -> M:
    """The same model with one of its submodules behind `BPDA`; the model itself stays as it is, and the weights are shared.

    Args:
        model: Any module, e.g. a `Classifier`.
        stage: The submodule's name, as in ``model.named_modules()``: ``"net.0"``.
        surrogate: See `BPDA`.

    Raises:
        ModelError: no such submodule.
    """
    names = [name for name, _ in model.named_modules() if name]
    if stage not in names:
        raise ModelError(f"the model has no submodule {stage!r}", remedy=nearest(stage, names))
    return _replaced(model, stage.split("."), surrogate)


def _replaced(module: M, path: list[str], surrogate: Stage | None) -> M:
    # What lies on the way to the stage is copied, without what hangs on it; everything else is the same object.
    twin, name = copy.copy(module), path[0]
    inner: nn.Module = module._modules[name]  # type: ignore[assignment]
    changed = BPDA(inner, surrogate) if len(path) == 1 else _replaced(inner, path[1:], surrogate)
    twin._modules = {**module._modules, name: changed}
    return twin


class _Instead(torch.autograd.Function):
    """The first argument's value, the second argument's gradient; ``a + (b - b.detach())`` would round."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor, smooth: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient[0]
