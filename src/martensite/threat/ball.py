"""What a norm must offer: distance, projection, random start, steepest step. One norm a file implements it.

Shapes: x is (n, *d), any d. eps is a float or a tensor (n,), in input units. Every result has the shape, dtype and device of x,
and never touches its arguments.
"""

from typing import Protocol, overload

import torch
from torch import Tensor

from martensite.core.rng import Streams

Box = tuple[float, float]
Bounds = tuple[float, float] | tuple[Tensor, Tensor]  # of all features, or of each: (n, *d)
Eps = float | Tensor


class Ball(Protocol):
    """The Lp ball around a clean input, cut by the box of valid inputs."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) norm of ``other - x``, accumulated in float64 and returned as float32 (or float64 for float64 inputs)."""
        ...

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
        """A point of ball and box, near ``point``; ``point`` itself if it is inside. Each feature may have bounds of its own."""
        ...

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """A random point of ball and box."""
        ...

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Bounds, length: Eps = 0.0) -> Tensor:
        """The direction of unit norm along which a loss with this gradient rises fastest from ``point``.

        ``length`` is what the direction will be multiplied with: where the best direction depends on how far the box lets each
        feature move, it is the best one for a step of that length, and shorter than one if the box has no room for more.
        """
        ...

    def diameter(self, size: int, box: Box) -> float:
        """The largest distance between two points of the box, for inputs of ``size`` numbers."""
        ...


@overload
def columns(eps: Tensor, x: Tensor) -> Tensor: ...
@overload
def columns(eps: Eps, x: Tensor) -> Eps: ...
def columns(eps: Eps, x: Tensor) -> Eps:
    """Shape an eps (n,) so that it broadcasts over (n, *d); a float stays a float."""
    return eps.to(x.dtype).view(-1, *[1] * (x.dim() - 1)) if isinstance(eps, Tensor) else eps


def delta64(x: Tensor, other: Tensor) -> Tensor:
    """(n, size) differences in float64: float32 would round away a part of a short step."""
    return (other.double() - x.double()).flatten(1)


def as_distance(values: Tensor, x: Tensor) -> Tensor:
    """Distances are float32, whatever the precision of the search, and float64 for float64 inputs."""
    return values.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
