"""The samples of a batch that are still to be broken: the broken ones leave at once, so that cost follows survivors."""

import torch
from torch import Tensor

from martensite.attacks.oracle import Oracle
from martensite.core.rng import Streams
from martensite.threat import ThreatModel


def succeeded(logits: Tensor, y: Tensor, goal: str) -> Tensor:
    """(n,) bool: another class than y, or y itself for a targeted goal. A tie is no success."""
    aim = logits.gather(1, y[:, None])
    return (logits >= aim).sum(1) == 1 if goal == "targeted" else (logits > aim).any(1)


class Survivors:
    """Clean inputs, labels and random streams of the samples still in the search, and the best point found for each sample.

    Attributes:
        x: (m, *d) clean inputs of the m survivors.
        y: (m,) their labels.
        rng: Their streams.
        carried: (m, ...) whatever else an attack wants to travel with them.
        found: (n, *d) for all n samples of the batch, the point to return.
    """

    def __init__(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> None:
        self.x, self.y, self.rng = x, y, rng
        self.carried = y
        self.found = x.clone()
        self._threat, self._project = threat, threat.projection(x)
        self._oracle, oracle.found = oracle, self.found
        self._places = oracle.places = torch.arange(len(x), device=x.device)

    def __len__(self) -> int:
        return len(self.x)

    def drop_broken(self, logits: Tensor, point: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Record the points whose logits show success and let them leave.

        Args:
            logits: (m, K) at ``point``.
            point: (m, *d) where the search stands.
            others: Tensors (m, ...) that travel with it: a gradient, a velocity.

        Returns:
            ``point`` and ``others`` of those that stay; unchanged if the search is to run its full course.
        """
        return self.drop(self.broken(logits), point, *others)

    @property
    def places(self) -> Tensor:
        """(m,) which samples of the batch the survivors are: ``rows`` for the oracle, if it is asked about some of them."""
        return self._places

    def broken(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Who may leave, by the logits (k, K) of where they stand: the broken, unless the search is to run its full course, and
        those whose budget is spent.

        Args:
            logits: At a point of each survivor, or of some.
            rows: (k,) which of the survivors these are; None: all.

        Returns:
            (k,) bool.
        """
        oracle = self._oracle
        if not oracle.until_broken:
            leaving = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        else:
            leaving = succeeded(logits, self.y if rows is None else self.y[rows], self._threat.goal)
        if oracle.account.limited:
            leaving |= oracle.exhausted(self._places if rows is None else self._places[rows])
        return leaving

    def drop(self, broken: Tensor, point: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Record the points of the survivors that the mask ``broken`` (m,) names, and let them leave; else as `drop_broken`."""
        if not bool(broken.any()):
            return point, *others
        self.found[self._places[broken]] = point[broken]
        self._oracle.claim(self._places[broken])
        return self._without(self.leaving(broken), point, *others)

    def give_up(self, hopeless: Tensor, point: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Let the survivors that the mask ``hopeless`` (m,) names leave unbroken, with ``point`` as their best; see `drop`."""
        self.found[self._places[hopeless]] = point[hopeless]
        return self._without(hopeless, point, *others)

    def _without(self, leaving: Tensor, point: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        stay = ~leaving
        self.x, self.y, self.rng, self.carried = self.x[stay], self.y[stay], self.rng[stay], self.carried[stay]
        self._places = self._places[stay]
        self._oracle.places = self._places
        self._project = self._threat.projection(self.x)
        return point[stay], *(other[stay] for other in others)

    def project(self, point: Tensor) -> Tensor:
        """Bring ``point`` (m, *d) into the ball around the survivors' clean inputs and the box."""
        return self._project(point)

    def leaving(self, broken: Tensor) -> Tensor:
        """(m,) bool: who leaves when those of the mask ``broken`` (m,) do; here they alone."""
        return broken

    def settle(self, point: Tensor) -> None:
        """Take ``point`` (m, *d) as the best so far of the survivors."""
        self.found[self._places] = point
