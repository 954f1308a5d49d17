"""The threat model: what an adversary may do to an input. Stated once, carried through every step and every report."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import ThreatError
from martensite.core.rng import Streams
from martensite.threat.ball import Ball, Bounds, Eps
from martensite.threat.constraints import Constraints
from martensite.threat.l0 import L0
from martensite.threat.l1 import L1
from martensite.threat.l2 import L2
from martensite.threat.linf import Linf
from martensite.threat.repair import Repair
from martensite.threat.rules import Rules, check_box, compile_rules
from martensite.threat.violations import check_clean

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
        constraints: What an adversarial has to keep besides: immutable features, ranges, whole numbers, relations, levels.

    Raises:
        ConfigError: eps <= 0 or unreadable, an unknown norm.
        ThreatError: an empty box, an Linf eps larger than the box, an L0 eps below one feature, constraints outside the box.
    """

    norm: Norm = "linf"
    eps: PositiveFloat = Field(description="radius in input units")
    box: tuple[float, float] = (0.0, 1.0)
    goal: Literal["untargeted", "targeted"] = "untargeted"
    constraints: Constraints | None = None

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
        if self.constraints is not None:
            check_box(self.constraints, self.box)
        return self

    @property
    def ball(self) -> Ball:
        """The geometry of this norm."""
        return BALLS[self.norm]

    def check_shape(self, x: Tensor) -> None:
        """Refuse an eps that a box of this many features can't hold, and constraints of another number of features.

        Raises:
            ThreatError: eps exceeds the box's diameter; the constraints speak of other features.
            ConfigError: constraints that contradict each other.
        """
        size = x[0].numel()
        if self.constraints is not None:
            self._rules_for(x)
        largest = self.ball.diameter(size, self.box)
        if self.eps > largest:
            raise ThreatError(
                f"eps is {self.eps:g} ({self.norm}) for inputs of {size} features in the box {list(self.box)}",
                f"no two inputs are further apart than {largest:g}",
                "give a smaller eps, in input units",
            )

    def check_clean(self, x: Tensor) -> None:
        """Refuse clean inputs (n, *d) that break the constraints themselves.

        Raises:
            DataError: how many, the first of them, the rule and the value.
        """
        if self.constraints is not None:
            check_clean(x, self.constraints, self.box)

    def distance(self, x: Tensor, other: Tensor) -> Tensor:
        """(n,) distance of ``other`` from ``x`` in this norm."""
        return self.ball.distance(x, other)

    def project(self, point: Tensor, x: Tensor, eps: Eps | None = None) -> Tensor:
        """Bring ``point`` (n, *d) into the ball around ``x`` and the box; ``eps`` (n,) overrides this eps sample by sample.

        Of the constraints, immutable features and ranges are kept; `repair` keeps all.
        """
        eps = self.eps if eps is None else eps
        if self.constraints is None:
            return self.ball.project(point, x, eps, self.box)
        rules = self._rules_for(x)
        return self.ball.project(torch.where(rules.mutable.view(x.shape[1:]), point, x), x, eps, _bounds(rules, x))

    def projection(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """`project` around ``x`` for many points, one after the other: what it needs of x is computed once."""
        if isinstance(self.ball, Linf) and self.constraints is None:
            low, high = self.ball.limits(x, self.eps, self.box)
            return lambda point: point.clamp(low, high)
        return lambda point: self.project(point, x)

    def random_start(self, x: Tensor, rng: Streams) -> Tensor:
        """A random point of ball and box for each sample."""
        start = self.ball.random_start(x, self.eps, self.box, rng)
        return start if self.constraints is None else self.project(start, x)

    def steepest_step(self, gradient: Tensor, point: Tensor, length: Eps = 0.0) -> Tensor:
        """The unit direction (n, *d) along which a loss with this gradient rises fastest from ``point``, in a step that long."""
        if self.constraints is None:
            return self.ball.steepest_step(gradient, point, self.box, length)
        rules = self._rules_for(point)
        free = torch.where(rules.mutable.view(point.shape[1:]), gradient, 0.0)
        return self.ball.steepest_step(free, point, _bounds(rules, point), length)

    def repair(self, x: Tensor, eps: float | None) -> Repair | None:
        """What takes any point near a clean input to one that the constraints allow; None without constraints.

        Args:
            x: (n, *d) gives the number of features and the device.
            eps: Radius of the ball that repaired points stay in; None: no ball.
        """
        return None if self.constraints is None else Repair(self._rules_for(x), self.norm, eps)

    def at(self, eps: float) -> "ThreatModel":
        """The same threat model with another eps."""
        return ThreatModel(norm=self.norm, eps=eps, box=self.box, goal=self.goal, constraints=self.constraints)

    def _rules_for(self, x: Tensor) -> Rules:
        key = (x[0].numel() if len(x) else x.shape[1:].numel(), x.device)
        if key not in self._compiled and self.constraints is not None:
            self._compiled[key] = compile_rules(self.constraints, self.box, key[0]).to(x.device)
        return self._compiled[key]

    @cached_property
    def _compiled(self) -> dict[tuple[int, torch.device], Rules]:
        return {}

    def __str__(self) -> str:
        limits = "" if self.constraints is None else ", under constraints"
        return f"{self.norm} eps {self.eps:.4g} in [{self.box[0]:g}, {self.box[1]:g}]{limits}"


def _bounds(rules: Rules, x: Tensor) -> Bounds:
    """The box, or each feature's own where there are ranges; what stands outside its range by rounding is inside."""
    if not rules.ranged:
        return rules.box
    low, high = rules.low.to(x).view(1, *x.shape[1:]), rules.high.to(x).view(1, *x.shape[1:])
    return torch.minimum(low, x), torch.maximum(high, x)
