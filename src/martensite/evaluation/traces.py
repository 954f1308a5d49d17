"""Loss over steps in a report: whether a search had converged, or would have gone on gaining."""

from math import ceil, isfinite

from martensite.attacks.trace import Trace
from martensite.core.config import Config

POINTS = 101  # of a trace in a report


class LossTrace(Config):
    """The mean loss of one search at its steps.

    Attributes:
        attack: The row of the table of attacks that it belongs to.
        search: The kind that climbed: the attack's own, or that of a member of an ensemble.
        loss: What was climbed; traces of different losses don't compare.
        samples: Searched; one that was broken counts with the loss at which it left.
        steps: At which of the steps, counted through all restarts, the figures are; a long trace is thinned.
        mean: Mean loss there.
        left: Share of the samples that had not been broken yet.
    """

    attack: str
    search: str
    loss: str
    samples: int
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    left: tuple[float, ...]


def loss_trace(attack: str, trace: Trace) -> LossTrace | None:
    """A trace for the report; None if there is nothing to see: fewer than two steps, or a loss that isn't finite."""
    length = len(trace.total)
    if length < 2 or not trace.samples:
        return None
    stride = ceil((length - 1) / (POINTS - 1))
    steps = sorted({*range(0, length, stride), length - 1})
    mean = [float(f"{value:.6g}") for value in (trace.total[steps] / trace.samples).tolist()]
    if not all(map(isfinite, mean)):
        return None
    left = [round(value, 6) for value in (trace.left[steps] / trace.samples).tolist()]
    return LossTrace(
        attack=attack,
        search=trace.name,
        loss=trace.loss,
        samples=trace.samples,
        steps=tuple(steps),
        mean=tuple(mean),
        left=tuple(left),
    )
