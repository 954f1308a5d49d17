"""L0: at most eps features may change, by any amount that the box allows."""

import torch
from torch import Tensor

from martensite.core.rng import Streams
from martensite.threat.ball import Bounds, Box, Eps, as_distance, delta64


class L0:
    """The L0 ball; eps is a number of features (fractions are rounded down)."""

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) number of features that differ at all."""
        return as_distance((delta64(x, other) != 0).sum(1), x)

    def project(self, point: Tensor, x: Tensor, eps: Eps, box: Bounds) -> Tensor:
        """The nearest point (in L2) of ball and box: keep the features whose return would cost most, clamped."""
        clamped = point.clamp(*box)
        # Returning feature i costs (point - x)^2 instead of (point - clamped)^2; this is their difference, free of cancellation.
        cost = delta64(x, clamped) * (delta64(x, point) + delta64(clamped, point))
        kept = _largest(cost, eps)
        return torch.where(kept.view_as(x), clamped, x)

    def random_start(self, x: Tensor, eps: Eps, box: Box, rng: Streams) -> Tensor:
        """A random set of eps features, each at a uniform value of the box."""
        kept = _largest(rng.uniform(x.shape[1:]).flatten(1), eps).view_as(x)
        return torch.where(kept, rng.uniform(x.shape[1:], *box).to(x), x)

    def steepest_step(self, gradient: Tensor, point: Tensor, box: Bounds, length: Eps = 0.0) -> Tensor:
        """gradient / its largest entry: no finite step is steepest in L0, projection chooses the features."""
        largest = gradient.flatten(1).abs().amax(1).view(-1, *[1] * (gradient.dim() - 1))
        return gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)

    def diameter(self, size: int, box: Box) -> float:
        """Every feature."""
        return float(size)


def _largest(values: Tensor, eps: Eps) -> Tensor:
    """Boolean mask (n, size) of each row's ``floor(eps)`` largest values; of equal ones, those that come first."""
    size = values.shape[1]
    count = (
        torch.as_tensor(eps, device=values.device, dtype=torch.float64).expand(len(values)).floor().clamp(0, size).long()[:, None]
    )
    # The last value that is kept, from a partial sort: a whole one takes several times as long.
    most = max(int(count.max()), 1) if len(values) else 1
    last = values.topk(most, dim=1).values.gather(1, (count - 1).clamp_min(0))
    above, level = values > last, values == last
    left = count - above.sum(1, keepdim=True)
    return (above | (level & (level.cumsum(1) <= left))) & (count > 0)
