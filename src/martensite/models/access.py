"""How much of a model an attacker sees, and the protocol that every model speaks."""

from enum import IntEnum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from martensite.threat.ball import Box


class Access(IntEnum):
    """What can be asked of a model; more includes less."""

    DECISIONS = 0
    SCORES = 1
    GRADIENTS = 2


@runtime_checkable
class Model(Protocol):
    """Anything that maps inputs in a box to a score a class.

    Attributes:
        classes: K, at least 2.
        box: Lowest and highest valid input value.
        access: The most that may be asked of it.
        device: Where inputs must be.
        dtype: Floating type of inputs.
    """

    @property
    def classes(self) -> int: ...
    @property
    def box(self) -> Box: ...
    @property
    def access(self) -> Access: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (n, K), logits where there are logits, for x (n, *d) in the box. One-hot for a decision-only model."""
        ...
