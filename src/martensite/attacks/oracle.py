"""Counted access to a model: the only way an attack reaches it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from martensite.attacks.budget import Budget
from martensite.attacks.losses import Loss
from martensite.core.errors import AccessError, BudgetError
from martensite.models.access import Access, Model
from martensite.models.classifier import check_logits


class Oracle:
    """Answers an attack's questions, and counts them: one pass is one sample through the model once.

    Args:
        model: The model under attack.
        until_broken: True: a sample's search may end at its first success. False: searches run their full course, as
            adversarial training wants.
        precision: Of the passes; the logits come back in float32 or wider.
        budget: Limits; a question beyond them raises `BudgetError`.
        started: When the run began (``time.perf_counter()``), for a budget of seconds.

    Attributes:
        forwards: Forward passes so far, times samples.
        backwards: Backward passes so far, times samples.
        spent: int64 (n,) forward passes on each sample of the batch that `begin` started.
        places: (m,) the samples of the batch that questions are about; None: all of them.
        found: (n, *d) the best points so far, should the budget end the search.
        claimed: (n,) bool: samples whose search ended in what it took for a success.
        out_of_time: Whether the budget of seconds ended it.
    """

    def __init__(
        self,
        model: Model,
        until_broken: bool = True,
        precision: Literal["float32", "bfloat16"] = "float32",
        budget: Budget | None = None,
        started: float = 0.0,
    ) -> None:
        self.model, self.until_broken = model, until_broken
        self._precision, self._budget, self._started = precision, budget or Budget(), started
        self.forwards = 0
        self.backwards = 0
        self.out_of_time = False
        self.begin(torch.zeros(0, device=model.device))

    def begin(self, x: Tensor) -> None:
        """Take up a batch of clean inputs (n, *d)."""
        self.spent = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.claimed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.places: Tensor | None = None
        self.found = x

    def claim(self, places: Tensor) -> None:
        """Note that the search takes these samples of the batch for broken."""
        if len(self.claimed):
            self.claimed[places] = True

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (n, K), float32 or wider, without a gradient.

        Args:
            x: One point a sample, or several rounds of them: (rounds * m, *d), a whole round after the other.
            rows: (m,) the samples of the batch that x is about; None: ``places``.

        Raises:
            AccessError: the model grants decisions only.
        """
        if self.model.access < Access.SCORES:
            raise AccessError("scores were asked of a model that grants decisions", "it answers with labels only", "use `labels`")
        self._count(len(x), rows)
        with self._cast():
            return self._widen(self._answers(x))

    def labels(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """The class (n,) int64 that the model decides for, whatever access it grants.

        In the model's own precision: near a boundary, where decision-based attacks ask, another one answers another question.

        Args:
            x: As in `logits`.
            rows: As in `logits`; or (n,) the sample that each point of x is about, as often as that may be.
        """
        self._count(len(x), rows)
        return self._answers(x).argmax(1)

    def ballot(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits (n, K), or decisions one-hot where the model grants no more: for the judge, and for whoever takes what there is.

        In the model's own precision. Arguments as in `logits`.
        """
        self._count(len(x), rows)
        return self._widen(self._answers(x))

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
        self._refuse_black_box()
        self._count(len(x), rows)
        self.backwards += len(x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            shown = leaf if through is None else through(leaf)
            with self._cast():
                logits = self.model(shown.to(self.model.dtype, copy=True))  # a copy, as in `logits`
            logits = self._widen(logits)
            # Samples don't interact in evaluation mode, so the gradient of the sum holds every sample's own.
            if self.model.dtype == torch.float16:
                gradient = _through_half(loss, logits, leaf)
            else:
                (gradient,) = torch.autograd.grad(loss(logits).sum(), leaf)
        return check_logits(logits.detach(), len(x), self.model.classes), gradient

    def jacobian(self, x: Tensor, functions: Loss, rows: Tensor | None = None) -> tuple[Tensor, Iterator[Tensor]]:
        """Logits (n, K) at x, and the gradients of several functions of the logits, from one forward pass.

        Args:
            x: As in `logits`.
            functions: Logits (n, K) to (n, m), m numbers a sample, e.g. the gaps between m classes and the right one.
            rows: As in `logits`.

        Returns:
            The logits, and m gradients (n, *d), one a backward pass: each is made, and counted, when it is asked for, so that
            what is never asked for costs nothing and no two need be in memory at once.

        Raises:
            AccessError: the model has no gradient to offer.
        """
        self._refuse_black_box()
        self._count(len(x), rows)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            with self._cast():
                logits = self.model(leaf.to(self.model.dtype, copy=True))  # a copy, as in `logits`
            logits = self._widen(logits)
            values = functions(logits).sum(0)

        def gradients() -> Iterator[Tensor]:
            for place in range(len(values)):
                self.backwards += len(x)
                yield torch.autograd.grad(values[place], leaf, retain_graph=place + 1 < len(values))[0]

        return check_logits(logits.detach(), len(x), self.model.classes), gradients()

    @torch.no_grad()
    def _answers(self, x: Tensor) -> Tensor:
        # A copy: a module that works in place (x -= mean, an in-place ReLU) must not reach the caller's tensor.
        own = x.to(self.model.dtype, copy=True)
        size = _pass_size(self.model, own)
        answers = self.model(own) if len(x) <= size else torch.cat([self.model(part) for part in torch.split(own, size)])
        return check_logits(answers, len(x), self.model.classes)

    def _refuse_black_box(self) -> None:
        if self.model.access < Access.GRADIENTS:
            raise AccessError("a gradient was asked of a black box", "it offers scores or labels only", "use a query attack")

    def _cast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._precision == "bfloat16")

    def _count(self, n: int, rows: Tensor | None) -> None:
        seconds = self._budget.seconds
        if seconds is not None and time.perf_counter() - self._started > seconds:
            self.out_of_time = True
            raise BudgetError(f"the budget of {seconds:g} seconds is spent", "a search cut short is no measurement", "raise it")
        self.forwards += n
        about = self.places if rows is None else rows
        m = len(self.spent) if about is None else len(about)
        if len(self.spent) and m and n % m == 0:
            asked = torch.arange(m, device=self.spent.device) if about is None else about
            before = self.spent
            self.spent = before.index_add(0, asked, torch.full_like(asked, n // m))  # a sample may be there more than once
            if self._budget.queries is not None and int(self.spent[asked].max()) > self._budget.queries:
                self.forwards -= n
                self.spent = before
                raise BudgetError(f"the budget of {self._budget.queries} queries a sample is spent")

    @staticmethod
    def _widen(logits: Tensor) -> Tensor:
        return logits if logits.dtype == torch.float64 else logits.float()


def _pass_size(model: Model, x: Tensor) -> int:
    """How many samples without a gradient to pass at once: on a CPU, as many as leave their activations in the caches.

    A pass over 250 MNIST images took 2.1 times as long as eight over 32 (one core, 45 us an image).
    """
    if x.device.type != "cpu" or not isinstance(model, nn.Module):
        return max(len(x), 1)
    return torch.get_num_threads() * max(32, 25_000 // max(x[0].numel(), 1)) if len(x) else 1


def _through_half(loss: Loss, logits: Tensor, leaf: Tensor) -> Tensor:
    """The gradient through a float16 model, sent back at unit size: below 6e-8, as a confident sample's is, it would vanish."""
    outer = logits.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(outer).sum(), outer)
    size = slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    (gradient,) = torch.autograd.grad(logits, leaf, slope / size)
    return gradient * size.view(-1, *[1] * (leaf.dim() - 1))


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
