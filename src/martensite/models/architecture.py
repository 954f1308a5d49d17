"""Architectures by name: a configuration that builds a module, so that a bundle is rebuilt without its author's code."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from martensite.core.config import Config
from martensite.core.registry import Registry
from martensite.core.rng import derive
from martensite.models.classifier import Classifier
from martensite.threat.ball import Box


class Architecture(Config):
    """Base of all architectures; a member is one frozen class with ``kind`` and `module`."""

    kind: str

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The freshly initialised network for inputs (n, *shape) and (n, classes) logits.

        Raises:
            ModelError: the architecture doesn't fit that shape.
        """
        raise NotImplementedError(f"{type(self).__name__} must define module()")


ARCHITECTURES: Registry[Architecture] = Registry("architecture", Architecture)


def build(
    architecture: Architecture | str | dict[str, Any],
    shape: Sequence[int],
    classes: int,
    *,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    box: Box = (0.0, 1.0),
    seed: int = 0,
) -> Classifier:
    """A `Classifier` of a registered architecture, its initial weights derived from the seed alone.

    Args:
        architecture: A member, its name, or its mapping (``{"kind": "small_cnn", "width": 32}``).
        shape: Shape of one input, without the batch.
        classes: K >= 2.
        mean: See `Classifier`.
        std: See `Classifier`.
        box: See `Classifier`.
        seed: Of the initial weights.

    Raises:
        ConfigError: an unknown architecture or parameter.
        ModelError: the architecture doesn't fit the shape.
    """
    plan = ARCHITECTURES.build(architecture)
    # Modules draw their initial weights from torch's global stream: lend it one of ours, and give it back untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        net = plan.module(tuple(shape), classes)
    return Classifier(net, classes, mean, std, box, shape=shape, architecture=plan)
