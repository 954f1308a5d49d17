"""Several turns of a search at once, as rows of one batch: where few samples are left, a pass over more points costs little more.

A pass over one MNIST image takes 0.39 ms on one core, over 16 images 1.5 ms. What comes out is what the turns would have found
one after the other, and the counts are theirs: each turn has its own draws, and of the turns that break a sample the earliest is
taken.
"""

import torch
from torch import Tensor

from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import Survivors
from martensite.threat import ThreatModel

FEW = 16  # from so many points on, a pass on a CPU takes the same time a point


def turns_at_once(oracle: Oracle, m: int, wanted: int) -> int:
    """How many of the turns wanted for m samples to run at once: as many as a pass has room for, in groups of about one size."""
    few = m <= FEW or oracle.model.device.type != "cpu"
    most = max(oracle.spare // max(m, 1), 1) if few else 1
    return -(-wanted // -(-wanted // most))


class Lanes(Survivors):
    """Turns side by side: lane ``turn * m + place`` is the search of that turn for the survivor at that place.

    When a turn breaks a sample its later turns leave, for they would not have been run. Its earlier ones go on: one of them may
    break it yet, and would have come first.

    Args:
        oracle: The model; inside ``oracle.among(search.places.repeat(turns))``.
        search: Who is to be broken.
        threat: Ball, box and goal.
        turns: How many.
        draws: Random numbers a sample that each turn draws.
    """

    def __init__(self, oracle: Oracle, search: Survivors, threat: ThreatModel, turns: int, draws: int) -> None:
        self._samples, self._turns, self._draws = len(search), turns, draws
        x = search.x.repeat(turns, *[1] * (search.x.dim() - 1))
        super().__init__(oracle, x, search.y.repeat(turns), threat, search.rng.rounds(turns, draws))
        self._first = search.y.new_full((len(search),), turns)  # the earliest turn that broke each sample
        self._passes = search.y.new_zeros(2, len(x))  # forward and backward, on each lane
        self._before = oracle.forwards, oracle.backwards

    def leaving(self, broken: Tensor) -> Tensor:
        """The lanes that broke, and the later ones of their samples."""
        self._book()
        turn, sample = self.places // self._samples, self.places % self._samples
        self._first.scatter_reduce_(0, sample[broken], turn[broken], "amin")
        return broken | (turn > self._first[sample])

    def fold(self, search: Survivors) -> None:
        """Give the search that the lanes were made of, outside the oracle's block, what the turns would have left it with."""
        if len(self):
            self._book()
        everyone, turns = torch.arange(self._samples, device=self.y.device), torch.arange(self._turns, device=self.y.device)
        point = self.found[self._first.clamp_max(self._turns - 1) * self._samples + everyone]
        needless = (turns[:, None] > self._first).flatten()
        self._oracle.withdraw(search.places.repeat(self._turns)[needless], *self._passes[:, needless])
        search.rng.counter += self._turns * self._draws
        search.settle(point)
        search.drop(self._first < self._turns, point)

    def _book(self) -> None:
        """Note the passes since the last time: the lanes go in step, so each that is left had its equal share."""
        now = self._oracle.forwards, self._oracle.backwards
        for passes, count, before in zip(self._passes, now, self._before, strict=True):
            passes[self.places] += (count - before) // len(self)
        self._before = now
