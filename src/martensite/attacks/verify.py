"""The judge: decides which candidates are adversarial examples, with code shared with no attack.

Distances are computed here a second time, in float64 and in their plainest form, so that a mistake in the geometry that attacks
use can't vouch for itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from martensite.threat import ThreatModel, violations


@dataclass(frozen=True)
class Jury:
    """How often a model is asked before a sample counts as misclassified: once, unless it answers at random.

    Attributes:
        draws: Fresh forward passes.
        share: Of them that must be at the goal.
    """

    draws: int = 1
    share: float = 1.0

    def agree(self, votes: Tensor) -> Tensor:
        """(n,) bool: whether enough of the draws' votes (draws, n) are true."""
        return votes.sum(0) >= self.share * len(votes) - 1e-9  # 0.7 * 10 is a little more than 7


ONE_DRAW = Jury()


@dataclass(frozen=True)
class Judgement:
    """What is true of each candidate.

    Attributes:
        allowed: (n,) bool, inside the box, finite, and as the constraints want it.
        within: (n,) bool, inside the ball.
        misclassified: (n,) bool, at the goal in fresh forward passes.
        distance: (n,) float64 distance from the clean input.
        rules: The constraints that are broken, and by how many of the candidates.
    """

    allowed: Tensor
    within: Tensor
    misclassified: Tensor
    distance: Tensor
    rules: tuple[tuple[str, int], ...] = ()


def judge(x: Tensor, candidate: Tensor, logits: Tensor, y: Tensor, threat: ThreatModel, jury: Jury = ONE_DRAW) -> Judgement:
    """Judge candidates (n, *d) made from clean inputs x, with fresh logits of the candidates.

    Args:
        x: Clean inputs.
        candidate: What an attack returned.
        logits: (n, K) or, of several draws, (draws, n, K): the model's answers to the candidates, just computed.
        y: The class to leave, or to reach.
        threat: What is allowed. The tolerance is float32's rounding of the largest values of the box, in this norm.
        jury: How many of the draws must be at the goal.
    """
    low, high = threat.box
    values = candidate.double().flatten(1)
    change = (values - x.double().flatten(1)).abs()
    if threat.norm == "linf":
        distance = change.amax(1)
    elif threat.norm == "l2":
        distance = (change * change).sum(1) ** 0.5
    elif threat.norm == "l1":
        distance = change.sum(1)
    else:
        distance = (change > 0).sum(1).double()
    size = values.shape[1]
    largest = max(abs(low), abs(high), high - low)
    widest = {"linf": 1.0, "l2": size**0.5, "l1": float(size), "l0": 0.0}[threat.norm] * largest
    tolerance = torch.finfo(torch.float32).eps * widest
    # In the candidate's own precision, where the end of a box such as [0, 0.3] is a number that can be reached.
    inside_box = ((candidate >= low) & (candidate <= high)).flatten(1).all(1)
    allowed = inside_box & values.isfinite().all(1)
    broken = [] if threat.constraints is None else violations(candidate, x, threat.constraints, threat.box)
    for violation in broken:
        allowed = allowed & ~violation.broken
    within = distance <= threat.eps + tolerance
    ballots = logits.reshape(-1, *logits.shape[-2:])
    place = y[None, :, None].expand(len(ballots), -1, -1)
    aim = ballots.gather(2, place).squeeze(2)
    rest = ballots.scatter(2, place, -torch.inf).amax(2)
    # A tie is no success: the right class must have lost outright, or the target won.
    reached = jury.agree(aim > rest if threat.goal == "targeted" else rest > aim)
    rules = tuple((violation.rule, int(violation.broken.sum())) for violation in broken)
    return Judgement(allowed, within, reached, distance, rules)
