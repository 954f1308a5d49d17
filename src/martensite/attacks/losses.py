"""What a gradient attack climbs: one number a sample, larger meaning closer to success.

`ce` cross-entropy; `margin` the best wrong logit minus the right one (Carlini and Wagner 2017, arXiv:1608.04644, f_6);
`dlr` difference of logits ratio, which no rescaling of the logits changes (Croce and Hein 2020, arXiv:2003.01690, eq. 6 and 7);
`logit` minus the right logit; `odds` the log of the odds against the right class, which has the direction of cross-entropy and
never vanishes.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn.functional import cross_entropy

from martensite.core.config import nearest
from martensite.core.errors import ConfigError

Loss = Callable[[Tensor], Tensor]

RATIO = 4  # classes that the ratios need, so that the third and the target aren't all there is to scale by


def known(name: str) -> str:
    """The name itself.

    Raises:
        ConfigError: no such loss.
    """
    if name not in LOSSES:
        raise ConfigError(f"there is no loss {name!r}", remedy=nearest(name, LOSSES))
    return name


LossName = Annotated[str, AfterValidator(known)]


def register_loss(name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Name a loss of one's own, for an adaptive attack: afterwards ``PGD(loss=name)`` climbs it.

    Args:
        name: Not yet taken.
        loss: Logits (n, K) and labels (n,) to (n,) values, larger meaning closer to leaving the label; differentiable. It may
            write into the logits, which are a copy of its own.

    Raises:
        ConfigError: the name is taken or empty, or the loss is no function.
    """
    if not name or not callable(loss):
        raise ConfigError(f"the loss {name!r} is {loss!r}", "a loss is a function of logits and labels, under a name")
    if LOSSES.get(name, loss) is not loss:
        raise ConfigError(f"the loss {name!r} is taken", "a name means one loss", f"choose a name besides {', '.join(LOSSES)}")
    LOSSES[name] = loss


def ascend(name: str, y: Tensor, goal: str) -> Loss:
    """The function of logits (n, K) to climb, (n,) values.

    Args:
        name: Which loss.
        y: (n,) the class to leave, or the class to reach.
        goal: ``"untargeted"`` or ``"targeted"``; a targeted attack climbs the loss of leaving, negated, or one made for it.
    """
    loss, reach = LOSSES[name], REACHING.get(name)
    if loss not in OURS:
        # One that masks the label in place would otherwise decide what the search takes for broken.
        own = loss

        def loss(logits: Tensor, y: Tensor) -> Tensor:
            return own(logits.clone(), y)

    if goal == "untargeted":
        return lambda logits: loss(logits, y)
    if reach is None:
        return lambda logits: -loss(logits, y)
    return lambda logits: reach(logits, y)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy."""
    return cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best wrong logit minus the right one: positive exactly when the sample is misclassified."""
    right = logits.gather(1, y[:, None])
    wrong = logits.scatter(1, y[:, None], float("-inf"))
    return wrong.amax(1) - right.squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Margin over the spread between the first and third largest logit (eq. 6); with fewer than four classes `odds`.

    Of two classes the ratio is always one. Of three it rises as the third falls, so a search that could only leave for that one
    would be sent the other way.
    """
    if logits.shape[1] < RATIO:
        return odds(logits, y)
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2]).clamp_min(torch.finfo(logits.dtype).eps)


def dlr_towards(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Target minus right logit, over the largest minus the mean of the third and fourth (eq. 7).

    With fewer than four classes the plain difference: there is no fourth, and over the largest minus the third the way to the
    third would have no slope at all.
    """
    gap = logits.gather(1, target[:, None]).squeeze(1) - logits.gather(1, y[:, None]).squeeze(1)
    return gap if logits.shape[1] < RATIO else gap / _spread(logits)


def dlr_reaching(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 7 with the strongest other class as the one to leave, whichever it is by now; with fewer than four minus `odds`.

    Minus eq. 6 won't do: where the target is the third it is minus one, and has no slope.
    """
    return -odds(logits, target) if logits.shape[1] < RATIO else -margin(logits, target) / _spread(logits)


def _spread(logits: Tensor) -> Tensor:
    top = logits.topk(4, dim=1).values
    return (top[:, 0] - top[:, 2:].mean(1)).clamp_min(torch.finfo(logits.dtype).eps)


def logit(logits: Tensor, y: Tensor) -> Tensor:
    """Minus the right logit."""
    return -logits.gather(1, y[:, None]).squeeze(1)


def odds(logits: Tensor, y: Tensor) -> Tensor:
    """log((1 - p_y) / p_y) = log sum_{k != y} exp(z_k) - z_y: a monotone function of cross-entropy, log(1 + exp(odds)).

    Its gradient has cross-entropy's direction, and keeps its length where the model is so sure that the other's rounds to zero.
    """
    right = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], float("-inf")).logsumexp(1) - right


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": ce, "dlr": dlr, "margin": margin, "logit": logit, "odds": odds}
OURS = frozenset(LOSSES.values())
REACHING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"dlr": dlr_reaching}
