"""What a model answers to inputs, batch by batch, looked at without a trace."""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.core.errors import ModelError
from martensite.models import Access, Classifier, Model, ask_patiently, probe, undisturbed

BATCH, FEW = 250, 2


@dataclass(frozen=True)
class Answered:
    """Answers to clean inputs, of a model that may leave some of them open.

    Attributes:
        logits: (n, K), a row of NaN for each input that got no answer.
        known: (n,) bool: which got one.
        failures: The error of each of the others.
    """

    logits: Tensor
    known: Tensor
    failures: tuple[ModelError, ...]


def answers(model: Model, x: Tensor) -> Tensor:
    """(n, K) scores of x (n, *d), float32 or wider, on the CPU.

    Raises:
        ModelError: a query failed.
    """
    with undisturbed(model), torch.inference_mode():
        parts = [_ask(model, part) for part in torch.split(x, BATCH)]
    return _wide(torch.cat(parts))


def answered(model: Model, x: Tensor) -> Answered:
    """The same; of a model that only answers queries, an input whose query fails is left open and the others go on.

    Raises:
        ModelError: a model with gradients fails.
        UnreachableError: nobody answers there.
    """
    failures: list[ModelError] = []

    def ask(part: Tensor) -> Tensor:
        if model.access >= Access.GRADIENTS:
            return _ask(model, part)
        return ask_patiently(lambda some: _ask(model, some), part, model.classes, failures)

    with undisturbed(model), torch.inference_mode():
        logits = _wide(torch.cat([ask(part) for part in torch.split(x, BATCH)]))
    known = ~logits.isnan().any(1) if failures else torch.ones(len(x), dtype=torch.bool)
    return Answered(logits, known, tuple(failures))


def try_out(model: Model, x: Tensor) -> None:
    """Make sure that a model answers at all, by the first few of the inputs (n, *d).

    Raises:
        ModelError: it fails on them, or its answer isn't (n, K) finite numbers.
        UnreachableError: nobody answers there.
    """
    if isinstance(model, Classifier):
        probe(model, x[:FEW])
        return
    for some in (x[:FEW], x[:BATCH]):
        if bool((told := answered(model, some)).known.any()):
            return
    raise told.failures[0]


def _ask(model: Model, x: Tensor) -> Tensor:
    return model(x.to(model.device, model.dtype, copy=True))


def _wide(logits: Tensor) -> Tensor:
    logits = logits.cpu()
    return logits if logits.dtype == torch.float64 else logits.float()
