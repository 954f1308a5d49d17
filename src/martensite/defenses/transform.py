"""What an input transform is: a frozen configuration that changes inputs before the model sees them."""

from typing import ClassVar

import torch
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import ModelError
from martensite.core.registry import Registry
from martensite.core.rng import Streams
from martensite.threat.ball import Box


class Transform(Config):
    """Base of all input transforms: parameters, never state.

    Attributes:
        kind: The registry's name.
        random: Two calls may differ; attacks then average over draws.
        differentiable: `apply` has a gradient that an attack can use. Else `surrogate` gives it.
        images: It takes images (C, H, W) only.
    """

    kind: str

    random: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False
    images: ClassVar[bool] = True

    def apply(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """The inputs as the model gets them.

        Args:
            x: (n, *d) in the box.
            box: Lowest and highest valid value.
            rng: One random stream a sample.

        Returns:
            (n, *d) in the box, of the same type and device; a sample's result doesn't depend on its neighbours.
        """
        raise NotImplementedError(f"{type(self).__name__} must define apply()")

    def surrogate(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """What lends `apply` its gradient: differentiable, of the same shape, close to it. By default the identity."""
        return x

    def through(self, x: Tensor, box: Box, rng: Streams) -> Tensor:
        """`apply`, with a gradient: its own, or that of the surrogate (backward pass differentiable approximation).

        Athalye, Carlini and Wagner 2018, arXiv:1802.00420, sec. 4.1.
        """
        if self.differentiable:
            return self.apply(x, box, rng)
        with torch.no_grad():
            made = self.apply(x.detach(), box, rng[:])
        return replaced(made, self.surrogate(x, box, rng)) if torch.is_grad_enabled() and x.requires_grad else made

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse, before any work starts, inputs that it can't take.

        Raises:
            ModelError: images are needed.
        """
        if self.images and len(shape) != 3:
            raise ModelError(
                f"{self.kind} was given inputs of shape {shape}", "it takes images (C, H, W)", "leave it out, or use bit_depth"
            )

    def __str__(self) -> str:
        given = self.model_dump(mode="json", exclude={"kind"}, exclude_defaults=True)
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in given.items())})" if given else self.kind


TRANSFORMS: Registry[Transform] = Registry("transform", Transform)


def replaced(value: Tensor, smooth: Tensor) -> Tensor:
    """The first one's value with the second one's gradient; exact, for the added difference is zero."""
    return value.detach() + (smooth - smooth.detach())
