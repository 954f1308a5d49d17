"""L2: the Euclidean length of the change is at most eps."""

import torch
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Bounds, Box, Eps, as_distance, columns, delta64


class L2:
    """The L2 ball."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) Euclidean distance."""
        return as_distance(delta64(x, other).norm(dim=1), x)

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
        """Shrink onto the ball what is outside it, then clamp to the box.

        The result is inside both, since clamping to a box that holds x only shortens the change. It is the nearest such point
        unless the box cuts the ball.
        """
        delta, radius = point - x, columns(eps, x)
        length = _length(delta)
        return torch.where(length <= radius, point, x + delta * (radius / length.clamp_min(_tiny(x)))).clamp_(*box)

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """Uniform in the ball (a Gaussian direction, a radius of density r**(size - 1)), clamped to the box."""
        size = x[0].numel()
        direction = self.steepest_step(rng.normal(x.shape[1:]).to(x), x, box)
        radius = (rng.uniform((1,)).to(x) ** (1.0 / size)).view(-1, *[1] * (x.dim() - 1))
        return self.project(x + columns(eps, x) * radius * direction, x, eps, box)

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Bounds, length: Eps = 0.0) -> Tensor:
        """gradient / its length; zero where the gradient is zero."""
        # Dividing by the largest entry first keeps squares of tiny gradients (saturated softmax) from vanishing.
        largest = gradient.flatten(1).abs().amax(1).view(-1, *[1] * (gradient.dim() - 1))
        scaled = gradient / largest.clamp_min(_tiny(gradient))
        return scaled / _length(scaled).clamp_min(_tiny(gradient))

    def diameter(self, size: int, box: Box) -> float:
        """Corner to corner."""
        return float((box[1] - box[0]) * size**0.5)


def _length(delta: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return length.view(-1, *[1] * (delta.dim() - 1))


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny
