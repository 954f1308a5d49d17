"""How many samples a figure of a wanted precision takes."""

from martensite.core.errors import ConfigError
from martensite.evaluation.intervals import clopper_pearson
from martensite.evaluation.rate import Rate

MOST = 10_000_000


def samples_for(half_width: float, confidence: float = 0.95) -> int:
    """The least n at which the exact interval is no wider than twice ``half_width``, whatever the rate turns out to be.

    The interval is widest at a rate of one half.

    Raises:
        ConfigError: a half width outside (0, 0.5), or so small that it takes over ten million samples.
    """
    if not 0 < half_width < 0.5:
        raise ConfigError(f"half_width is {half_width}", "it lies between 0 and 0.5", "e.g. 0.02")

    def wide(n: int) -> bool:
        low, high = clopper_pearson(n // 2, n, confidence)
        return high - low > 2 * half_width

    low, high = 0, 1
    while wide(high):
        low, high = high, 2 * high
        if high > MOST:
            raise ConfigError(f"half_width is {half_width}", f"it takes over {MOST:,} samples", "give a larger one")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def shortfall(half_width: float, available: int, rate: Rate) -> str:
    """What to say of a rate whose interval should be +-``half_width``, where too few samples were there.

    Args:
        half_width: That was asked for.
        available: Samples that there were.
        rate: What was measured on them.
    """
    reached = 100 * (rate.high - rate.low) / 2
    return (
        f"intervals of +-{half_width:g} need {samples_for(half_width):,} samples, and there are {available:,}: "
        f"that of robust accuracy is +-{reached:.1f} points"
    )
