"""MLP: fully connected layers with ReLU between them, for inputs of any shape."""

import math
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from martensite.models.architecture import ARCHITECTURES, Architecture


@ARCHITECTURES.register
class MLP(Architecture):
    """Flatten, then a linear layer and a ReLU for each hidden width, then a linear layer to the logits.

    Args:
        hidden: Width of each hidden layer; empty: a linear model.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = (128, 64)

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; every shape fits."""
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, classes))
