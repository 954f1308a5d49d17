"""Square: random search over squares at the ball's corners, by scores alone.

Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a query-efficient black-box adversarial attack via random
search", arXiv:1912.00049, sec. 3 and 5. For Linf see `square_linf`, for L2 and L1 `square_lp`; what a square is in inputs other
than images, `grid` says.
"""

import math
from bisect import bisect_left
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName, ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.square_linf import climb_linf
from martensite.attacks.square_lp import climb_lp
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

# The share of positions in a square is halved after each of these queries of 10,000 (sec. 5, "Implementation details").
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
CHECKS = (0.05, 0.1, 0.2, 0.4)  # shares of the queries after which samples may be given up


@ATTACKS.register
class Square(Attack):
    """The Square attack; samples leave at the query that breaks them.

    Args:
        queries: Forward passes on each sample at most, the first included. The schedule of sizes stretches with it.
        p: Share of the positions in the first squares.
        loss: What to climb; None: the margin, and for a targeted goal cross-entropy, as in the paper.
        hopeless: A sample is given up if more than ``hopeless / f`` of its clean margin is left after a share f of the queries,
            for each f of `CHECKS`; the loss is then the margin. None: nobody is, as in the paper. With 0.04 the 20 samples, of
            two networks, that withstood gradients and fell to 5,000 queries stayed below four fifths of these limits.
    """

    kind: Literal["square"] = "square"
    queries: PositiveInt = 5000
    p: float = Field(default=0.8, gt=0.0, le=1.0)
    loss: LossName | None = None
    hopeless: PositiveFloat | None = None

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Put a random square somewhere; keep it if the loss rises."""
        search, queries, limits = Survivors(oracle, x, y, threat, rng), self.queries, dict[int, float]()
        loss = self.loss or ("margin" if threat.goal == "untargeted" else "ce")
        if self.hopeless is not None:
            loss, queries = "margin", max(self.queries - 1, 1)  # one goes to the clean input
            search.carried = ascend(loss, y, threat.goal)(oracle.logits(x))
            limits = {math.ceil(f * queries): self.hopeless / f for f in CHECKS}
        (climb_linf if threat.norm == "linf" else climb_lp)(oracle, search, threat, loss, queries, self.share, limits)
        return search.found

    @model_validator(mode="after")
    def _margin(self) -> Self:
        if self.hopeless is not None and self.loss not in (None, "margin"):
            raise ValueError(
                f"hopeless is {self.hopeless:g} with the loss {self.loss!r}: it is about margins; leave one of them out"
            )
        return self

    def share(self, query: int) -> float:
        """Share of the positions that the square of this query (1, 2, ...) covers."""
        done = (query - 1) * 10_000 // self.queries
        return self.p / 2.0 ** bisect_left(HALVINGS, done)
