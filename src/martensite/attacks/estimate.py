"""Gradients estimated from scores: finite differences along random directions, in antithetic pairs."""

from collections.abc import Callable

import torch
from torch import Tensor

from martensite.attacks.losses import Loss
from martensite.attacks.oracle import Oracle
from martensite.threat.ball import Box

VALUES = 8192  # input numbers a sample in one question: enough to keep a device busy, and no trouble for its memory


def rounds(x: Tensor) -> int:
    """How many points a sample to ask about at once. It depends on the inputs' size alone, so no result depends on the batch."""
    return max(VALUES // x[0].numel(), 1)


def estimate(
    oracle: Oracle, point: Tensor, loss: Callable[[int], Loss], draw: Callable[[int], Tensor], pairs: int, sigma: float, box: Box
) -> tuple[Tensor, Tensor]:
    """The mean over pairs of (J(x + sigma u) - J(x - sigma u)) / (2 sigma) u, with 2 * pairs queries a sample.

    Args:
        oracle: The model.
        point: (m, *d) where the gradient is wanted.
        loss: J for a number of rounds of the samples.
        draw: A number r to directions u (m, r, *d).
        pairs: How many directions.
        sigma: How far to go along each; points are clamped to the box, outside of which a model need not answer.
        box: Lowest and highest valid value.

    Returns:
        The gradient (m, *d), and (m,) the mean of J over all points.
    """
    gradient, mean = torch.zeros_like(point), torch.zeros(len(point), dtype=torch.float64, device=point.device)
    step = max(rounds(point) // 2, 1)
    for start in range(0, pairs, step):
        count = min(step, pairs - start)
        u = draw(count).to(point).transpose(0, 1)
        both = torch.cat([point + sigma * u, point - sigma * u]).clamp_(*box)
        value = loss(2 * count)(oracle.logits(both.flatten(0, 1))).view(2, count, -1)
        slope = ((value[0] - value[1]) / (2.0 * sigma)).to(point)
        gradient += torch.einsum("rm,rm...->m...", slope, u)
        mean += value.double().sum((0, 1))
    return gradient / pairs, mean / (2 * pairs)
