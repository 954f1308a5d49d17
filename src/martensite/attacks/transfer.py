"""Transfer: adversarials made on surrogate models and judged on the target, of which the attacker sees nothing else.

Papernot, McDaniel and Goodfellow 2016, "Transferability in machine learning", arXiv:1605.07277, sec. 3; the ensemble is that of
Dong et al. 2018, "Boosting adversarial attacks with momentum", arXiv:1710.06081, sec. 3.4: the mean of the logits.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from martensite.attacks.attack import Attack
from martensite.attacks.engine import attack, check_surrogate
from martensite.attacks.result import AttackResult
from martensite.core.errors import ModelError
from martensite.models.access import Access, Model
from martensite.threat import ThreatModel
from martensite.threat.ball import Box


def transfer(
    method: Attack,
    surrogates: Sequence[Model],
    target: Model,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    aim: Tensor | None = None,
    **options: Any,
) -> AttackResult:
    """Attack the mean of the surrogates, and judge on the target.

    The search runs its full course: what has just crossed a surrogate's boundary rarely crosses the target's.

    Args:
        method: The attack, e.g. ``MIFGSM()``.
        surrogates: Models to search on, at least one, on the target's device, of its classes and box.
        target: The model to judge on; labels are all it needs to grant.
        x: (n, *d) clean inputs in the box.
        y: (n,) true labels.
        threat: What the adversary may do.
        aim: (n,) the class to reach; with ``threat.goal="targeted"`` only.
        options: Further arguments of `attack`: ``seed``, ``batch_size``, ``precision``, ``budget``, ...

    Returns:
        The result on the target; ``correct`` is the target's, ``backwards`` are the surrogates'.

    Raises:
        ModelError: no surrogate, or one whose classes or box are not the target's.
        MartensiteError: see `attack` for the rest.
    """
    if not surrogates:
        raise ModelError("no surrogate was given", "adversarials are made on surrogate models", "give at least one")
    for place, model in enumerate(surrogates):
        check_surrogate(model, target, f"surrogate {place}")
    return attack(method, target, x, y, threat, target=aim, surrogate=LogitMean(surrogates), **options)


class LogitMean(nn.Module):
    """The mean of several models' logits, as one model; it grants as much access as all of them do."""

    def __init__(self, models: Sequence[Model]) -> None:
        super().__init__()
        self.models = tuple(models)
        # Flags and parameters of those that are modules are the engine's to freeze.
        self.members = nn.ModuleList(model for model in models if isinstance(model, nn.Module))
        self.classes: int = models[0].classes
        self.box: Box = models[0].box
        self.access = Access(min(model.access for model in models))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K), float32 or wider."""
        each = [model(x.to(model.dtype, copy=True)) for model in self.models]
        return torch.stack([logits if logits.dtype == torch.float64 else logits.float() for logits in each]).mean(0)

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        return self.models[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The widest of the members' types."""
        return max((model.dtype for model in self.models), key=lambda dtype: torch.finfo(dtype).bits)
