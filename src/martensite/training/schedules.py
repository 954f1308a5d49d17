"""Learning rates over training: functions of the fraction that is done, so that no schedule has a state to save.

`cyclic` rises over the first fifth and falls linearly to zero (Smith 2017, arXiv:1506.01186; Wong et al. 2020, arXiv:2001.03994,
for adversarial training); `cosine` falls along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5); `multistep`
multiplies by a factor at each milestone; `slow_fast` is for fine-tuning a trained model: a slow start that does not tear it up,
then a fast decay (Jeddi et al. 2020, arXiv:2012.13628; the powers are ours); `constant` stays.
"""

import math
from collections.abc import Sequence
from typing import Literal

Schedule = Literal["cyclic", "cosine", "multistep", "slow_fast", "constant"]
PEAK = 0.4  # of slow_fast


def share_of_peak(schedule: Schedule, done: float, milestones: Sequence[float], gamma: float, warmup: float) -> float:
    """The learning rate as a share (0 to 1) of the peak.

    Args:
        schedule: Which shape.
        done: Fraction of all updates that is done, in [0, 1].
        milestones: Fractions at which ``multistep`` drops.
        gamma: Factor of each drop.
        warmup: Fraction over which the rate rises linearly from zero, on top of the shape; 0: none.
    """
    rise = min(1.0, done / warmup) if warmup else 1.0
    return rise * _shape(schedule, done, milestones, gamma)


def _shape(schedule: Schedule, done: float, milestones: Sequence[float], gamma: float) -> float:
    match schedule:
        case "cyclic":
            return done / 0.2 if done < 0.2 else (1 - done) / 0.8
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "multistep":
            return float(gamma ** sum(done >= milestone for milestone in milestones))
        case "slow_fast":
            return float((done / PEAK) ** 2 if done < PEAK else ((1 - done) / (1 - PEAK)) ** 3)
        case "constant":
            return 1.0
