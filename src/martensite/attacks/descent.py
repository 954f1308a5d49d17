"""What CW and EAD share: the hinge on the margin, the search for its weight, and when a descent is given up.

Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sec. V.
"""

import torch
from torch import Tensor

from martensite.attacks.losses import Loss, ascend

LARGEST = 1e10  # no larger constant is tried
CHECKS, FALL = 10, 0.9999  # times that a descent is looked at; what the least loss must fall to in between


def hinge(y: Tensor, c: Tensor, goal: str, confidence: float = 0.0) -> Loss:
    """c f_6 with f_6 = (confidence - margin)^+: zero once the goal is reached."""
    margin = ascend("margin", y, goal)
    return lambda logits: c * (confidence - margin(logits)).clamp_min(0.0)


class Constant:
    """The smallest constant c that still yields an adversarial: ten times as much as long as nothing is found, then bisected.

    Args:
        first: Where to start.
        like: (n,) gives number, type and device.

    Attributes:
        c: (n,) the constants to try.
    """

    def __init__(self, first: float, like: Tensor) -> None:
        self.c = torch.full_like(like, first)
        self._lower, self._upper = torch.zeros_like(self.c), torch.full_like(self.c, LARGEST)

    def update(self, found: Tensor) -> None:
        """Choose the next constants, given for which samples (n,) the present ones yielded an adversarial."""
        self._upper = torch.where(found, torch.minimum(self._upper, self.c), self._upper)
        self._lower = torch.where(found, self._lower, torch.maximum(self._lower, self.c))
        middle = (self._lower + self._upper) / 2.0
        self.c = torch.where(self._upper < LARGEST, middle, (self.c * 10.0).clamp_max(LARGEST))


class Patience:
    """Tells, ten times in a descent, whose loss has stopped to fall; sample by sample, unlike the reference implementations.

    Args:
        steps: Of the descent; 0: nobody is ever sent away.
        like: (m,) gives number, type and device.
    """

    def __init__(self, steps: int, like: Tensor) -> None:
        self._every = -(-steps // CHECKS)
        self._least, self._last = torch.full_like(like, torch.inf), torch.full_like(like, torch.inf)

    def leave(self, step: int, loss: Tensor) -> Tensor | None:
        """Whom to keep, (m,) bool, if it is time to look and somebody goes; he is forgotten here as well."""
        if not self._every:
            return None
        self._least = torch.minimum(self._least, loss.to(self._least.dtype))  # losses of Adam's go up and down
        if step % self._every:
            return None
        stay = self._least <= FALL * self._last
        if bool(stay.all()):
            self._last = self._least
            return None
        self._least = self._last = self._least[stay]
        return stay
