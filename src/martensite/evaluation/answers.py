"""What a model answers to inputs, batch by batch, looked at without a trace."""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.core.errors import ModelError
from martensite.models import Access, Model, ask_patiently, undisturbed
from martensite.models.patience import said

BATCH = 250


@dataclass(frozen=True)
class Answered:
    """Answers to clean inputs, of a model that may leave some of them open.

    Attributes:
        logits: (n, K), a row of NaN for each input that got no answer.
        known: (n,) bool: which got one.
        failures: What became of the others, in a line; empty if there are none.
    """

    logits: Tensor
    known: Tensor
    failures: str


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
        ModelError: a model with gradients fails, or none of the first inputs got an answer.
        UnreachableError: nobody answers there.
    """
    failures: list[ModelError] = []
    parts: list[Tensor] = []
    with undisturbed(model), torch.inference_mode():
        for part in torch.split(x, BATCH):
            if model.access >= Access.GRADIENTS:
                parts.append(_ask(model, part))
                continue
            parts.append(ask_patiently(lambda some: _ask(model, some), part, model.classes, failures))
            if bool(torch.cat(parts).isnan().any(1).all()):  # it answers nobody: that is no matter of a sample
                raise failures[0]
    logits = _wide(torch.cat(parts))
    if not failures:
        return Answered(logits, torch.ones(len(x), dtype=torch.bool), "")
    return Answered(logits, ~logits.isnan().any(1), said(failures))


def _ask(model: Model, x: Tensor) -> Tensor:
    return model(x.to(model.device, model.dtype, copy=True))


def _wide(logits: Tensor) -> Tensor:
    logits = logits.cpu()
    return logits if logits.dtype == torch.float64 else logits.float()
