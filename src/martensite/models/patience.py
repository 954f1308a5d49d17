"""Asking a model that may leave a query unanswered: what fails is halved down to the samples that get no answer."""

from collections.abc import Callable

import torch
from torch import Tensor

from martensite.core.errors import ModelError, UnreachableError


def ask_patiently(question: Callable[[Tensor], Tensor], x: Tensor, classes: int, failures: list[ModelError]) -> Tensor:
    """Answers (n, K) to inputs (n, *d); a row of NaN for each sample that gets none.

    Args:
        question: Inputs to answers; it raises `ModelError` where the model gives none, or none that is valid.
        x: Inputs.
        classes: K.
        failures: Takes the error of each sample without an answer.

    Raises:
        UnreachableError: from the question: no further one would be answered either.
    """
    try:
        return question(x)
    except UnreachableError:
        raise
    except ModelError as error:
        if len(x) > 1:
            halves = x[: len(x) // 2], x[len(x) // 2 :]
            return torch.cat([ask_patiently(question, half, classes, failures) for half in halves])
        failures.append(error)
        return torch.full((1, classes), torch.nan, device=x.device)


def said(failures: list[ModelError]) -> str:
    """What became of queries that were not answered, in a line."""
    reasons = list(dict.fromkeys(error.value for error in failures))
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"{len(failures)} clean inputs got no answer: {reasons[0]}{more}"
