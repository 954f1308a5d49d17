"""Canaries: models that hide how weak they are, so that a harness which can't see it gives itself away.

Each wraps a network and leaves its decisions as they are, on inputs of its grid or over the mean of its draws; so the wrapped
model is exactly as robust as the network, for which there may be a closed form. The ways to hide are those of Athalye, Carlini
and Wagner 2018, "Obfuscated gradients give a false sense of security", arXiv:1802.00420, sec. 3.
"""

import torch
from torch import Tensor, nn

from martensite.core.rng import generator


class Saturated(nn.Module):
    """Logits so far apart that cross-entropy is flat: gradients vanish in float32.

    PGD and FGSM on cross-entropy break nothing; losses on logits (margin, DLR) and attacks by scores see through it.

    Args:
        net: Inputs to logits (n, K).
        factor: What the logits are multiplied with.
    """

    def __init__(self, net: nn.Module, factor: float = 1e4) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        """(n, K) the network's logits, enlarged."""
        logits: Tensor = self.net(x)
        return logits * self.factor


class Staircase(nn.Module):
    """Inputs rounded to so many levels: gradients shatter, they are zero everywhere.

    No gradient attack moves; attacks by scores or decisions do, and so does any through BPDA: ``BPDA(Staircase())``.

    Args:
        levels: From 0 to 1, both included.
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """x (n, *d), rounded."""
        return (x * (self.levels - 1)).round() / (self.levels - 1)


class Noisy(nn.Module):
    """Logits that differ from draw to draw, by noise uniform in [-spread, spread].

    Judged by a single draw it is broken by luck, with or without an attack; over many draws (`EOT`, AutoAttack's ``rand``) it
    answers as the network does.

    Args:
        net: Inputs to logits (n, K).
        spread: Of the noise, in units of the logits.
        seed: Of the noise.
    """

    def __init__(self, net: nn.Module, spread: float, seed: int = 0) -> None:
        super().__init__()
        self.net, self.spread, self._draws = net, spread, generator(seed, "canary")

    def forward(self, x: Tensor) -> Tensor:
        """(n, K) the network's logits with fresh noise."""
        logits: Tensor = self.net(x)
        noise = torch.rand(logits.shape, generator=self._draws) * 2.0 - 1.0
        return logits + self.spread * noise.to(logits)
