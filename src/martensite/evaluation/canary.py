"""What became of a canary; the canaries themselves are in `canaries`."""

from typing import Literal

from martensite.core.config import Config

Name = Literal["linear", "masked", "stochastic"]


class Canary(Config):
    """How a canary came out.

    Attributes:
        name: Which.
        expected: Samples that are robust in truth; None in older reports of one that only had to be noticed.
        found: Samples that the suite found robust.
        n: Samples in all.
        passed: Whether the suite can be believed as far as this goes.
    """

    name: Name
    expected: int | None
    found: int
    n: int
    passed: bool
