"""What a gradient attack climbs: one number a sample, larger meaning closer to success.

`ce` cross-entropy; `margin` the best wrong logit minus the right one (Carlini and Wagner 2017, arXiv:1608.04644, f_6);
`dlr` difference of logits ratio, which no rescaling of the logits changes (Croce and Hein 2020, arXiv:2003.01690, eq. 6);
`logit` minus the right logit.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from martensite.core.errors import ConfigError

LossName = Literal["ce", "dlr", "margin", "logit"]
Loss = Callable[[Tensor], Tensor]


def ascend(name: LossName, y: Tensor, goal: str) -> Loss:
    """The function of logits (n, K) to climb, (n,) values.

    Args:
        name: Which loss.
        y: (n,) the class to leave, or the class to reach.
        goal: ``"untargeted"`` or ``"targeted"``; a targeted attack climbs the loss of leaving, negated.
    """
    loss = LOSSES[name]
    if goal == "targeted":
        return lambda logits: -loss(logits, y)
    return lambda logits: loss(logits, y)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy."""
    return cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best wrong logit minus the right one: positive exactly when the sample is misclassified."""
    right = logits.gather(1, y[:, None])
    wrong = logits.scatter(1, y[:, None], float("-inf"))
    return wrong.amax(1) - right.squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Margin over the spread between the first and third largest logit.

    Raises:
        ConfigError: fewer than three classes, where the ratio is always one.
    """
    if logits.shape[1] < 3:
        raise ConfigError(
            f"the dlr loss was asked for {logits.shape[1]} classes",
            "it needs at least 3",
            "use the loss 'margin' or 'ce' instead",
        )
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2]).clamp_min(torch.finfo(logits.dtype).eps)


def dlr_towards(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratio: target minus right logit, over the largest minus the mean of the third and fourth.

    With three classes the third stands alone, with two nothing is left to scale by and the plain difference remains.
    """
    gap = logits.gather(1, target[:, None]).squeeze(1) - logits.gather(1, y[:, None]).squeeze(1)
    top = logits.topk(min(4, logits.shape[1]), dim=1).values
    if top.shape[1] < 3:
        return gap
    return gap / (top[:, 0] - top[:, 2:].mean(1)).clamp_min(torch.finfo(logits.dtype).eps)


def logit(logits: Tensor, y: Tensor) -> Tensor:
    """Minus the right logit."""
    return -logits.gather(1, y[:, None]).squeeze(1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": ce, "dlr": dlr, "margin": margin, "logit": logit}
