"""Linf: every feature may move by at most eps."""

from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Bounds, Box, Eps, as_distance, columns, delta64


class Linf:
    """The Linf ball, where projection, steepest step and optimum are exact and separate by feature."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) largest absolute difference."""
        return as_distance(delta64(x, other).abs().amax(1), x)

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
        """The nearest point of ball and box: two clamps."""
        eps = columns(eps, x)
        return point.clamp(min=x - eps, max=x + eps).clamp_(*box)

    def limits(self, x: Tensor, eps: Eps, box: Bounds) -> tuple[Tensor, Tensor]:
        """The least and the largest point of ball and box, feature by feature: to clamp to them is to `project`."""
        eps = columns(eps, x)
        return (x - eps).clamp_(*box), (x + eps).clamp_(*box)

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """Uniform in the ball, cut by the box."""
        noise = rng.uniform(x.shape[1:], -1.0, 1.0).to(x)
        return self.project(x + columns(eps, x) * noise, x, eps, box)

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Bounds, length: Eps = 0.0) -> Tensor:
        """sign(gradient)."""
        return gradient.sign()

    def diameter(self, size: int, box: Box) -> float:
        """The width of the box."""
        return box[1] - box[0]
