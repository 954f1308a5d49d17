"""GradAlign: a penalty on input gradients that turn within the ball.

Andriushchenko and Flammarion 2020, "Understanding and improving fast adversarial training", arXiv:2007.02617, eq. 5.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from martensite.attacks.losses import ce
from martensite.training.context import Context


def misalignment(context: Context, x: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(grad loss(x), grad loss(x + eta)), eta uniform in the ball; a scalar with a gradient.

    Args:
        context: Two forward and four backward passes are counted: a gradient of a gradient passes backward twice.
        x: (n, *d) clean inputs.
        y: (n,) labels.
    """
    elsewhere = context.threat.random_start(x, context.rng.fork("gradalign"))
    here, there = (_gradient(context, point, y) for point in (x, elsewhere))
    return 1.0 - cosine_similarity(here, there, dim=1).mean()


def _gradient(context: Context, point: Tensor, y: Tensor) -> Tensor:
    leaf = point.detach().requires_grad_(True)
    loss = ce(context.logits(leaf), y).sum()
    context.ledger.update.backwards += len(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    return gradient.flatten(1)
