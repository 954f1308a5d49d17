"""Counted access to a model: the only way an attack reaches it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from martensite.attacks.losses import Loss
from martensite.core.errors import AccessError
from martensite.models.access import Access, Model
from martensite.models.classifier import check_logits


class Oracle:
    """Answers an attack's questions, and counts them: one pass is one sample through the model once.

    Args:
        model: The model under attack.
        until_broken: True: a sample's search may end at its first success. False: searches run their full course, as
            adversarial training wants.

    Attributes:
        forwards: Forward passes so far, times samples.
        backwards: Backward passes so far, times samples.
        spent: int64 (n,) forward passes on each sample of the batch that `begin` started.
        places: (m,) the samples of the batch that questions are about; None: all of them.
    """

    def __init__(self, model: Model, until_broken: bool = True) -> None:
        self.model, self.until_broken = model, until_broken
        self.forwards = 0
        self.backwards = 0
        self.begin(0)

    def begin(self, n: int) -> None:
        """Take up a batch of n samples."""
        self.spent = torch.zeros(n, dtype=torch.int64, device=self.model.device)
        self.places: Tensor | None = None

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (n, K), float32 or wider, without a gradient.

        Args:
            x: One point a sample, or several rounds of them: (rounds * m, *d), a whole round after the other.
            rows: (m,) the samples of the batch that x is about; None: ``places``.
        """
        self._count(len(x), rows)
        with torch.no_grad():
            # A copy: a module that works in place (x -= mean, an in-place ReLU) must not reach the caller's tensor.
            own = x.to(self.model.dtype, copy=True)
            return self._widen(check_logits(self.model(own), len(x), self.model.classes))

    def gradient(
        self, x: Tensor, loss: Loss, rows: Tensor | None = None, through: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, K) at x, and the gradient (n, *d) of ``loss(logits)``, sample by sample, with respect to x.

        Args:
            x: As in `logits`.
            loss: Logits (n, K) to one number a sample.
            rows: As in `logits`.
            through: A differentiable change of the input before the model sees it; the gradient is with respect to x.

        Raises:
            AccessError: the model has no gradient to offer.
        """
        if self.model.access < Access.GRADIENTS:
            raise AccessError("a gradient was asked of a black box", "it offers scores or labels only", "use a query attack")
        self._count(len(x), rows)
        self.backwards += len(x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            shown = leaf if through is None else through(leaf)
            logits = self._widen(self.model(shown.to(self.model.dtype, copy=True)))  # a copy, as in `logits`
            # Samples don't interact in evaluation mode, so the gradient of the sum holds every sample's own.
            (gradient,) = torch.autograd.grad(loss(logits).sum(), leaf)
        return check_logits(logits.detach(), len(x), self.model.classes), gradient

    def _count(self, n: int, rows: Tensor | None) -> None:
        self.forwards += n
        about = self.places if rows is None else rows
        m = len(self.spent) if about is None else len(about)
        if len(self.spent) and m and n % m == 0:
            self.spent[slice(None) if about is None else about] += n // m

    @staticmethod
    def _widen(logits: Tensor) -> Tensor:
        return logits if logits.dtype == torch.float64 else logits.float()


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
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required in frozen:
            parameter.requires_grad_(required)
