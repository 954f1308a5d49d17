"""Averages of the weights over training, which generalise better than the last weights and blunt robust overfitting.

`EMA`: exponential moving average over updates (Polyak and Juditsky 1992; in adversarial training Rebuffi et al. 2021,
arXiv:2103.01946, sec. 3.2). `SWA`: equal average over the last epochs (Izmailov et al. 2018, arXiv:1803.05407, alg. 1; in
adversarial training Chen et al. 2021, "Robust overfitting may be mitigated by properly learned smoothening"). Running statistics
of normalisation layers are averaged like weights; whole numbers are copied.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from martensite.core.config import Config
from martensite.core.registry import Registry


class Average(Config):
    """Base of the averages: how much of the current weights goes in, and when."""

    kind: str

    def share(self, count: int, done: float, epoch_ends: bool) -> float:
        """Share of the current weights in the new average, in [0, 1]; 0: they don't go in.

        Args:
            count: How often weights have gone in.
            done: Fraction of training that is done.
            epoch_ends: Whether this update was the last of an epoch.
        """
        raise NotImplementedError(f"{type(self).__name__} must define share()")


AVERAGES: Registry[Average] = Registry("average", Average)


@AVERAGES.register
class EMA(Average):
    """avg = d * avg + (1 - d) * w after every update, d = min(decay, (1 + t) / (10 + t)): the start is soon forgotten.

    Args:
        decay: d once training is under way.
    """

    kind: Literal["ema"] = "ema"
    decay: float = Field(default=0.999, ge=0.0, lt=1.0)

    def share(self, count: int, done: float, epoch_ends: bool) -> float:
        """See `Average.share`; the first weights are taken whole."""
        return 1.0 - min(self.decay, (1 + count) / (10 + count)) if count else 1.0


@AVERAGES.register
class SWA(Average):
    """The mean of the weights at the ends of the last epochs.

    Args:
        start: Fraction of training after which epochs count.
    """

    kind: Literal["swa"] = "swa"
    start: float = Field(default=0.75, ge=0.0, lt=1.0)

    def share(self, count: int, done: float, epoch_ends: bool) -> float:
        """See `Average.share`."""
        return 1.0 / (count + 1) if epoch_ends and done >= self.start else 0.0


class Averaged:
    """The averaged weights of one run.

    Attributes:
        tensors: The averaged state dict; empty before anything went in.
        count: How often weights went in.
    """

    def __init__(self, average: Average) -> None:
        self.average = average
        self.tensors: dict[str, Tensor] = {}
        self.count = 0

    def follow(self, net: nn.Module, done: float, epoch_ends: bool) -> None:
        """Take in the current weights, if it is time."""
        share = self.average.share(self.count, done, epoch_ends)
        if share == 0.0:
            return
        self.count += 1
        for name, tensor in net.state_dict().items():
            kept = self.tensors.get(name)
            if kept is None:
                self.tensors[name] = tensor.detach().clone()
            elif tensor.is_floating_point():
                kept.lerp_(tensor.detach(), share)
            else:
                kept.copy_(tensor)
