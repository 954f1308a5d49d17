"""Square: random search over squares at the ball's corners, by scores alone.

Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a query-efficient black-box adversarial attack via random
search", arXiv:1912.00049, sec. 3 and 5. For Linf see `square_linf`, for L2 and L1 `square_lp`; what a square is in inputs other
than images, `grid` says.
"""

from bisect import bisect_left
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.losses import LossName
from martensite.attacks.oracle import Oracle
from martensite.attacks.square_linf import climb_linf
from martensite.attacks.square_lp import climb_lp
from martensite.attacks.survivors import Survivors
from martensite.core.rng import Streams
from martensite.models.access import Access
from martensite.threat import Norm, ThreatModel

# The share of positions in a square is halved after each of these queries of 10,000 (sec. 5, "Implementation details").
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@ATTACKS.register
class Square(Attack):
    """The Square attack; samples leave at the query that breaks them.

    Args:
        queries: Forward passes on each sample at most, the first included. The schedule of sizes stretches with it.
        p: Share of the positions in the first squares.
        loss: What to climb; None: the margin, and for a targeted goal cross-entropy, as in the paper.
    """

    kind: Literal["square"] = "square"
    queries: PositiveInt = 5000
    p: float = Field(default=0.8, gt=0.0, le=1.0)
    loss: LossName | None = None

    needs: ClassVar = Access.SCORES
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """Put a random square somewhere; keep it if the loss rises."""
        search = Survivors(oracle, x, y, threat, rng)
        loss = self.loss or ("margin" if threat.goal == "untargeted" else "ce")
        (climb_linf if threat.norm == "linf" else climb_lp)(oracle, search, threat, loss, self.queries, self.share)
        return search.found

    def share(self, query: int) -> float:
        """Share of the positions that the square of this query (1, 2, ...) covers."""
        done = (query - 1) * 10_000 // self.queries
        return self.p / 2.0 ** bisect_left(HALVINGS, done)
