"""What descents on a penalised margin share: the hinge, the search for its weight, Adam, and when a descent is given up.

Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sec. V; Kingma and Ba 2015,
"Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.
"""

import math

import torch
from torch import Tensor

from martensite.attacks.losses import Loss, ascend

BETA_1, BETA_2, STABLE = 0.9, 0.999, 1e-8  # of Adam
LARGEST = 1e10  # no larger constant is tried
CHECKS, FALL = 10, 0.9999  # times that a descent is looked at; what the least loss must fall to in between


def hinge(y: Tensor, c: Tensor, goal: str, confidence: float = 0.0) -> Loss:
    """c f_6 with f_6 = (confidence - margin)^+: zero once the goal is reached."""
    margin = ascend("margin", y, goal)
    return lambda logits: c * (confidence - margin(logits)).clamp_min(0.0)


class Constant:
    """The smallest constant c that still yields an adversarial: ten times as much as long as nothing is found, then bisected.

    Args:
        first: (n,) where to start.

    Attributes:
        c: (n,) the constants to try.
    """

    def __init__(self, first: Tensor) -> None:
        self.c = first
        self._lower, self._upper = torch.zeros_like(self.c), torch.full_like(self.c, LARGEST)

    def update(self, found: Tensor) -> None:
        """Choose the next constants, given for which samples (n,) the present ones yielded an adversarial."""
        self._upper = torch.where(found, torch.minimum(self._upper, self.c), self._upper)
        self._lower = torch.where(found, self._lower, torch.maximum(self._lower, self.c))
        middle = (self._lower + self._upper) / 2.0
        self.c = torch.where(self._upper < LARGEST, middle, (self.c * 10.0).clamp_max(LARGEST))


class Adam:
    """Adam's direction: the mean gradient over the root of the mean squared one, feature by feature.

    Args:
        like: (m, *d) gives shape, type and device.
    """

    def __init__(self, like: Tensor) -> None:
        self._mean, self._square, self._steps = torch.zeros_like(like), torch.zeros_like(like), 0

    def direction(self, gradient: Tensor) -> Tensor:
        """(m, *d) what to subtract, times the learning rate; ``gradient`` (m, *d) is overwritten."""
        self._steps += 1
        self._mean.lerp_(gradient, 1.0 - BETA_1)
        self._square.lerp_(gradient.square_(), 1.0 - BETA_2)
        root = (self._square / (1.0 - BETA_2**self._steps)).sqrt_().add_(STABLE)
        return torch.div(self._mean, root, out=root).div_(1.0 - BETA_1**self._steps)

    def keep(self, stay: Tensor) -> None:
        """Forget all but the samples ``stay`` (m,)."""
        self._mean, self._square = self._mean[stay], self._square[stay]


def anneal(step: int, steps: int, last: float) -> float:
    """From 1 down to ``last`` along half a cosine."""
    return last + (1.0 - last) * (1.0 + math.cos(math.pi * step / steps)) / 2.0


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
