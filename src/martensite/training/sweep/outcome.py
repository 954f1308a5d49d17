"""What became of a point, which points are worth having, and which one is chosen."""

from collections.abc import Sequence

from martensite.core.config import Config
from martensite.training.sweep.plan import Point


class Outcome(Config):
    """A point's best measurement, on the validation data and against the sweep's threat model.

    Attributes:
        point: What was tried.
        rung: The last rung that it reached, from 0.
        kept: The rung whose weights are kept; the accuracies are theirs.
        epochs: It trained for, in all.
        stopped: Whether it ended early: better points went on without it, or a later rung failed.
        clean: Clean accuracy.
        robust: Robust accuracy.
        cost: Forward and backward passes of all its rungs, in standard epochs; validation and guards included, a rung that failed
            not.
        seconds: Of training, in all its rungs.
        verdict: Of its last training: ``"completed"``, why a guard ended it early, or why it failed.
        failure: Why it has no model, if it has none; the accuracies are then 0.
    """

    point: Point
    rung: int
    kept: int = 0
    epochs: int
    stopped: bool = False
    clean: float
    robust: float
    cost: float
    seconds: float
    verdict: str = "completed"
    failure: str = ""


def better(before: Outcome | None, now: Outcome, min_clean: float | None) -> Outcome:
    """A point's outcome after one more rung: the better accuracies, by `ranking`, with the cost of both.

    Of equals it is the later one. A rung that failed takes away nothing that there was before it.
    """
    if before is None:
        return now
    if now.failure:
        return before.model_copy(
            update={
                "rung": now.rung,
                "stopped": True,
                "seconds": now.seconds,
                "verdict": f"rung {now.rung} failed, the weights are those of rung {before.kept}: {now.failure}",
            }
        )
    if ranking([now, before], min_clean)[0] == 0:
        return now
    return now.model_copy(update={"kept": before.kept, "clean": before.clean, "robust": before.robust})


def front(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    """Places of the Pareto-optimal outcomes.

    No other is at least as good in clean accuracy, robust accuracy and cost, and better in one of them.
    """
    figures = [(outcome.clean, outcome.robust, -outcome.cost) for outcome in outcomes]
    return tuple(k for k in range(len(outcomes)) if not outcomes[k].failure and not _dominated(figures[k], figures))


def ranking(outcomes: Sequence[Outcome], min_clean: float | None) -> list[int]:
    """Places of all outcomes, the most promising first.

    Those above the floor come first; among them whole layers of the Pareto front of clean against robust accuracy (the front, the
    front of what is left, ...), the more robust first within a layer. Those under the floor follow by clean accuracy, failures
    last.
    """
    above = [k for k, outcome in enumerate(outcomes) if not outcome.failure and outcome.clean >= (min_clean or 0.0)]
    under = [k for k, outcome in enumerate(outcomes) if not outcome.failure and k not in above]
    failed = [k for k, outcome in enumerate(outcomes) if outcome.failure]
    order: list[int] = []
    while above:
        figures = [(outcomes[k].clean, outcomes[k].robust) for k in above]
        layer = [k for k, own in zip(above, figures, strict=True) if not _dominated(own, figures)]
        order += sorted(layer, key=lambda k: (-outcomes[k].robust, -outcomes[k].clean, k))
        above = [k for k in above if k not in layer]
    return order + sorted(under, key=lambda k: (-outcomes[k].clean, -outcomes[k].robust, k)) + failed


def choose(outcomes: Sequence[Outcome], min_clean: float | None) -> tuple[int | None, str]:
    """The place of the most robust outcome above the floor, and why; None if there is none above the floor.

    Of equals it is the one with more clean accuracy, then the cheaper one.
    """
    alive = [k for k, outcome in enumerate(outcomes) if not outcome.failure]
    fit = [k for k in alive if outcomes[k].clean >= (min_clean or 0.0)]
    if not alive:
        return None, f"training failed at every point; the first: {outcomes[0].failure}"
    if not fit:
        best = outcomes[max(alive, key=lambda k: outcomes[k].clean)]
        return None, (
            f"no point keeps clean accuracy at {min_clean:g}: the closest, {best.point}, has {best.clean:.3f} clean and "
            f"{best.robust:.3f} robust. Lower the floor or the eps, or give more epochs"
        )
    order = sorted(fit, key=lambda k: (-outcomes[k].robust, -outcomes[k].clean, outcomes[k].cost, k))
    best = outcomes[order[0]]
    among = (
        f"of the {len(fit)} of {len(outcomes)} points with clean accuracy of at least {min_clean:g}" if min_clean else "of all"
    )
    reason = (
        f"{best.point} is the most robust {among}: {best.robust:.3f} robust, {best.clean:.3f} clean, {best.cost:.1f} epochs' cost"
    )
    if len(order) > 1:
        second = outcomes[order[1]]
        reason += f"; next is {second.point} with {second.robust:.3f} and {second.clean:.3f} for {second.cost:.1f}"
    return order[0], reason


def _dominated(own: tuple[float, ...], figures: Sequence[tuple[float, ...]]) -> bool:
    return any(other != own and all(a >= b for a, b in zip(other, own, strict=True)) for other in figures)
