"""Linear geometry of minimum-norm attacks: lengths, the nearest linearised boundary, and the way to it inside the box."""

import torch
from torch import Tensor

from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.threat import Norm, ThreatModel
from martensite.threat.ball import Box

ORDER: dict[str, float] = {"l0": 0, "l1": 1, "l2": 2, "linf": torch.inf}
UNITS = 16.0  # in the last place of the largest logit; ordinary float32 networks' gaps differ by up to 12 from batch to batch
FEW = 64  # features that are sorted at first: mostly they suffice, and all of them take several times as long
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
    # Masks are numbers here, since comparisons and boolean products take a CPU ten times as long as sums do.
    flat, direction, gain = point.flatten(1), (w.flatten(1) * c[:, None]).sign(), w.flatten(1).abs()
    room = torch.maximum(direction * (box[1] - flat), direction * (box[0] - flat))
    most, need = gain * room, c.abs()[:, None]
    if norm in ("l1", "l0"):
        return (_greedily(gain if norm == "l1" else most, gain, room, most, need) * direction).view_as(point)
    share = gain if norm == "l2" else torch.ones_like(gain)
    value, fixed, largest = gain * share, torch.zeros_like(gain), torch.finfo(w.dtype).max
    while True:
        left = need - (most * fixed).sum(1, keepdim=True)
        free = (value * (1.0 - fixed)).sum(1, keepdim=True)
        move = share * (left / free.clamp_min(torch.finfo(w.dtype).tiny)).clamp_max(largest)
        hit = torch.maximum((move - room).clamp_min_(0.0).sign_(), fixed)
        if torch.equal(hit, fixed):
            return (torch.minimum(move, room) * direction).view_as(point)
        fixed = hit


def _greedily(key: Tensor, gain: Tensor, room: Tensor, most: Tensor, need: Tensor) -> Tensor:
    """Moves (n, size): features go all their way, from the largest key down, until what they gain is enough."""
    few = min(FEW, key.shape[1])
    moves = _in_order(key.topk(few, dim=1).indices, gain, room, most, need)
    short = ((moves * gain).sum(1) < 0.999 * need.squeeze(1)).nonzero().squeeze(1)
    if len(short) and few < key.shape[1]:
        order = key[short].argsort(dim=1, descending=True, stable=True)
        moves[short] = _in_order(order, gain[short], room[short], most[short], need[short])
    return moves


def _in_order(order: Tensor, gain: Tensor, room: Tensor, most: Tensor, need: Tensor) -> Tensor:
    ranked = most.gather(1, order)
    move = (need - (ranked.cumsum(1) - ranked)) / gain.gather(1, order).clamp_min(torch.finfo(gain.dtype).tiny)
    return torch.zeros_like(gain).scatter_(1, order, torch.minimum(move.clamp_min(0.0), room.gather(1, order)))
