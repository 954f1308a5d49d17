"""Linear geometry of minimum-norm attacks: lengths, the nearest linearised boundary, and the way to it inside the box."""

import torch
from torch import Tensor

from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import Box

ORDER: dict[str, float] = {"l0": 0, "l1": 1, "l2": 2, "linf": torch.inf}
UNITS = 16.0  # in the last place of the largest logit
DUAL: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}


def length(delta: Tensor, norm: Norm) -> Tensor:
    """(n,) norm of each sample of delta (n, *d)."""
    result: Tensor = torch.linalg.vector_norm(delta.flatten(1), ORDER[norm], dim=1)
    return result


def rounding(logits: Tensor) -> Tensor:
    """(n,) gaps between logits that are smaller may have another sign in another batch, whose sums are rounded differently."""
    return UNITS * torch.finfo(logits.dtype).eps * logits.abs().amax(1)


def grain(gradient: Tensor, box: Box) -> Tensor:
    """(n,) by how much the rounding of its input may change a function with this gradient (n, *d): no step below it is felt."""
    ulp: float = torch.finfo(gradient.dtype).eps * max(abs(box[0]), abs(box[1]))
    return UNITS * ulp * length(gradient, "l1")


def rivals(logits: Tensor, y: Tensor, top: int) -> Tensor:
    """(n, m) the m = min(top, K) - 1 likeliest classes besides y (n,), likeliest first."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(max(min(top, logits.shape[1]) - 1, 1), dim=1).indices


def boundary(
    oracle: Oracle, point: Tensor, y: Tensor, classes: Tensor | None, threat: ThreatModel, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The decision boundary that is nearest to ``point``, as the model linearised there sees it.

    Args:
        oracle: The model.
        point: (n, *d) where to linearise.
        y: (n,) the class to leave; to reach, if ``classes`` is None.
        classes: (n, m) the classes that y may be left for, of which the nearest is taken. None: the boundary between y and the
            strongest other class, which has to be crossed to reach y.
        threat: The norm to measure nearness in, and the box.
        rows: See `Oracle.gradient`.

    Returns:
        The gap f (n,), by which the goal is missed (negative) or reached, and its gradient w (n, *d): the boundary is
        ``f + w . (x - point) = 0``. It is drawn beyond what rounding may hide, or a point right on it could not be left.
    """
    if classes is None:
        loss = ascend("margin", y, "targeted")
        logits, gradient = oracle.gradient(point, loss, rows)
        return (loss(logits) - 2.0 * rounding(logits)).to(point.dtype) - grain(gradient, threat.box), gradient

    def gaps(logits: Tensor) -> Tensor:
        return logits.gather(1, classes) - logits.gather(1, y[:, None])

    logits, gradients = oracle.jacobian(point, gaps, rows)
    f, w = point.new_zeros(len(point)), torch.zeros_like(point)
    least = torch.full_like(f, torch.inf)
    values = (gaps(logits) - 2.0 * rounding(logits)[:, None]).to(point.dtype)
    for gap, gradient in zip(values.unbind(1), gradients, strict=True):
        gap = gap - grain(gradient, threat.box)
        distance = gap.abs() / length(gradient, DUAL[threat.norm]).clamp_min(torch.finfo(point.dtype).tiny)
        nearer = distance < least
        least, f = torch.where(nearer, distance, least), torch.where(nearer, gap, f)
        w[nearer] = gradient[nearer]
    return f, w


def step_to_plane(point: Tensor, w: Tensor, c: Tensor, norm: Norm, box: Box) -> Tensor:
    """The shortest step (n, *d) with ``w . step = c`` that stays in the box; where c is out of reach, as far as the box lets go.

    For L1 features move all their way in the order of |w|, for L0 in the order of what their way gains. For L2 and Linf the
    solution is ``min(t * s, room)`` with s = |w| or 1, for the t at which the gains sum to |c|; t is found by fixing the features
    that hit the box until no more do (Kiwiel 2008, "Variable fixing algorithms for the continuous quadratic knapsack problem"),
    which ends after few rounds.

    Args:
        point: (n, *d) inside the box.
        w: (n, *d) normal of the hyperplane.
        c: (n,) signed height to gain.
        norm: Which length is shortest.
        box: Lowest and highest valid value.
    """
    direction = (w.flatten(1) * c.sign()[:, None]).sign()
    flat, gain = point.flatten(1), w.flatten(1).abs()
    room = torch.where(direction > 0, box[1] - flat, flat - box[0]) * direction.abs()
    most, need = gain * room, c.abs()[:, None]
    if norm in ("l1", "l0"):
        order = (gain if norm == "l1" else most).argsort(dim=1, descending=True, stable=True)
        before = most.gather(1, order).cumsum(1) - most.gather(1, order)
        move = ((need - before) / gain.gather(1, order).clamp_min(torch.finfo(w.dtype).tiny)).clamp_min(0.0)
        move = torch.zeros_like(move).scatter_(1, order, torch.minimum(move, room.gather(1, order)))
        return (move * direction).view_as(point)
    share = gain if norm == "l2" else torch.ones_like(gain)
    tiny = torch.finfo(w.dtype).tiny
    fixed = torch.zeros_like(gain, dtype=torch.bool)
    while True:
        left = need - (most * fixed).sum(1, keepdim=True)
        t = (left / (gain * share * ~fixed).sum(1, keepdim=True).clamp_min(tiny)).clamp_max(torch.finfo(w.dtype).max)
        hit = share * t >= room
        if bool((hit <= fixed).all()):
            return (torch.minimum(share * t, room) * direction).view_as(point)
        fixed |= hit
