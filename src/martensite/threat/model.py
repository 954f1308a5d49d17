"""The threat model: what an adversary may do to an input. Stated once, carried through every step and every report."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.threat.ball import Ball, Eps
from martensite.threat.l0 import L0
from martensite.threat.l1 import L1
from martensite.threat.l2 import L2
from martensite.threat.linf import Linf

Norm = Literal["linf", "l2", "l1", "l0"]
BALLS: dict[str, Ball] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0()}


class ThreatModel(Config):
    """An Lp ball around the clean input, inside the box of valid inputs, and what counts as success.

    Args:
        norm: ``"linf"``, ``"l2"``, ``"l1"`` or ``"l0"``.
        eps: Radius in input units (not in units of a normalised input); ``"8/255"`` is read as a number. For L0, the number of
            features.
        box: Lowest and highest valid input value.
        goal: ``"untargeted"``: any wrong class; ``"targeted"``: the class that the attacker chose.

    Raises:
        ConfigError: eps <= 0 or unreadable, an unknown norm.
        ThreatError: an empty box, an Linf eps larger than the box, an L0 eps below one feature.
    """

    norm: Norm = "linf"
    eps: PositiveFloat = Field(description="radius in input units")
    box: tuple[float, float] = (0.0, 1.0)
    goal: Literal["untargeted", "targeted"] = "untargeted"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.box
        if not low < high:
            raise ThreatError(f"box is ({low}, {high})", "its lower end must be below its upper end", "e.g. box=(0, 1)")
        if self.norm == "linf" and self.eps > high - low:
            raise ThreatError(
                f"eps is {self.eps:g} in the box [{low:g}, {high:g}]",
                f"an Linf eps above the box's width {high - low:g} means that any input may become any other",
                "eps is in input units: write 8/255, not 8, for inputs in [0, 1]",
            )
        if self.norm == "l0" and self.eps < 1:
            raise ThreatError(f"eps is {self.eps:g} (l0)", "an L0 eps is a number of features", "give at least 1")
        return self

    @property
    def ball(self) -> Ball:
        """The geometry of this norm."""
        return BALLS[self.norm]

    def check_shape(self, x: Tensor) -> None:
        """Refuse an eps that a box of this many features can't hold.

        Raises:
            ThreatError: eps exceeds the box's diameter.
        """
        size = x[0].numel()
        largest = self.ball.diameter(size, self.box)
        if self.eps > largest:
            raise ThreatError(
                f"eps is {self.eps:g} ({self.norm}) for inputs of {size} features in the box {list(self.box)}",
                f"no two inputs are further apart than {largest:g}",
                "give a smaller eps, in input units",
            )

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) distance of ``other`` from ``x`` in this norm."""
        return self.ball.distance(x, other)

    def project(self, point: Tensor, x: Tensor, eps: Eps | None = None) -> Tensor:
        """Bring ``point`` (n, *d) into the ball around ``x`` and the box; ``eps`` (n,) overrides this eps sample by sample."""
        return self.ball.project(point, x, self.eps if eps is None else eps, self.box)

    def random_start(self, x: Tensor, rng: Streams) -> Tensor:
        """A random point of ball and box for each sample."""
        return self.ball.random_start(x, self.eps, self.box, rng)

    def steepest_step(self, gradient: Tensor, point: Tensor, length: Eps = 0.0) -> Tensor:
        """The unit direction (n, *d) along which a loss with this gradient rises fastest from ``point``, in a step that long."""
        return self.ball.steepest_step(gradient, point, self.box, length)

    def at(self, eps: float) -> "ThreatModel":
        """The same threat model with another eps."""
        return ThreatModel(norm=self.norm, eps=eps, box=self.box, goal=self.goal)

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:.4g} in [{self.box[0]:g}, {self.box[1]:g}]"
