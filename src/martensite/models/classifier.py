"""A torch module that takes inputs in the box and normalises inside, so that eps is always in input units."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from martensite.core.errors import ModelError, NonFiniteError
from martensite.models.access import Access
from martensite.threat.ball import Box

if TYPE_CHECKING:
    from martensite.models.architecture import Architecture


class Classifier(nn.Module):
    """A differentiable model with logits for outputs.

    Args:
        net: Maps normalised inputs (n, *d) to logits (n, classes).
        classes: K >= 2.
        mean: Subtracted from the input, one value or one a channel (axis 1); None: no shift.
        std: Divided by, likewise; positive.
        box: Lowest and highest valid input value, before normalisation.
        shape: Shape of one input, without the batch; known for built architectures, else learnt by `probe`.

    Raises:
        ModelError: fewer than two classes, a standard deviation that isn't positive, an empty box.

    Attributes:
        architecture: How to rebuild ``net``, if it was built from a registered architecture; else None.
    """

    access = Access.GRADIENTS
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: int,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        box: Box = (0.0, 1.0),
        shape: Sequence[int] | None = None,
        architecture: "Architecture | None" = None,
    ) -> None:
        super().__init__()
        if not isinstance(classes, int) or classes < 2:
            raise ModelError(f"classes is {classes!r}", "a classifier has at least 2 classes", "give classes=K")
        if not box[0] < box[1]:
            raise ModelError(f"box is {tuple(box)}", "its lower end must be below its upper end", "e.g. box=(0, 1)")
        self.net = net
        self.classes = classes
        self.box: Box = (float(box[0]), float(box[1]))
        self.shape = None if shape is None else tuple(shape)
        self.architecture = architecture
        self.normalises = mean is not None or std is not None
        self.register_buffer("mean", _vector(mean, 0.0, net), persistent=False)
        self.register_buffer("std", _vector(std, 1.0, net), persistent=False)
        if not bool((self.std > 0).all() and self.std.isfinite().all() and self.mean.isfinite().all()):
            raise ModelError(
                f"mean is {mean!r} and std is {std!r}",
                "mean must be finite and std positive",
                "one value, or one a channel",
            )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of inputs (n, *d) in the box."""
        return self.net(self.normalise(x)) if self.normalises else self.net(x)  # type: ignore[no-any-return]

    def normalise(self, x: Tensor) -> Tensor:
        """(x - mean) / std, by channel (axis 1)."""
        by_channel = (1, -1, *[1] * (x.dim() - 2))
        return (x - self.mean.view(by_channel)) / self.std.view(by_channel)

    @property
    def device(self) -> torch.device:
        """Where the parameters are (the CPU for a module without any)."""
        return next((p.device for p in self.net.parameters()), self.mean.device)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters (float32 for a module without any)."""
        return next((p.dtype for p in self.net.parameters() if p.is_floating_point()), torch.float32)


def probe(model: Classifier, x: Tensor) -> Tensor:
    """Run one small batch and check what comes out, before any real work starts. Flags and parameters stay as they are.

    Args:
        model: The model.
        x: (n, *d) a few valid inputs.

    Returns:
        (n, K) finite logits, computed in evaluation mode.

    Raises:
        ModelError: the module fails on the input, or its output isn't (n, K) finite floating-point numbers.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode():
            logits = model.eval()(x.to(model.device, model.dtype))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the model can't take an input of shape {tuple(x.shape[1:])}: {reason}",
            remedy="check the input's shape and channels",
        ) from error
    finally:
        for module, training in flags:
            module.training = training
    return check_logits(logits, len(x), model.classes)


def check_logits(logits: object, n: int, classes: int) -> Tensor:
    """Refuse an output that isn't (n, classes) finite floating-point numbers.

    Raises:
        NonFiniteError: NaN or infinities.
        ModelError: whatever else is wrong.
    """
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the model returns {type(logits).__name__}",
            "a tensor of logits (n, K) is needed",
            "return the logits only",
        )
    if tuple(logits.shape) != (n, classes):
        raise ModelError(
            f"the model returns shape {tuple(logits.shape)} for {n} inputs",
            f"({n}, {classes}) is needed: one logit a class",
            "check classes= and the last layer",
        )
    if not logits.is_floating_point():
        raise ModelError(
            f"the model returns {logits.dtype}", "logits are floating-point numbers", "return the scores, not the class"
        )
    if not bool(logits.isfinite().all()):
        bad = int((~logits.isfinite().all(1)).sum())
        raise NonFiniteError(
            f"the model returns NaN or infinite logits for {bad} of {n} inputs",
            "logits must be finite",
            "check the weights (did the training diverge?) and the precision",
        )
    return logits


def _vector(values: Sequence[float] | float | None, default: float, net: nn.Module) -> Tensor:
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    numbers = [default] if values is None else [values] if isinstance(values, int | float) else list(values)
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)
