"""What several seeds of the attacks say together; they are put together in `seeds`."""

from martensite.core.config import Config
from martensite.evaluation.rate import Rate


class Variation(Config):
    """Robust accuracy over several seeds of the attacks.

    Attributes:
        seeds: In the order of ``values``.
        values: Robust accuracies.
        mean: Their mean.
        deviation: Their standard deviation (n - 1); None of a single one.
        worst: Samples that withstand under every seed: all the runs are one attack with as many restarts.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    worst: Rate
