"""Labels that come later: what was answered is remembered by the request's id, and counted right or wrong once somebody knows."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from martensite.core.errors import DataError
from martensite.evaluation.intervals import wilson
from martensite.serving.observer import Routed

LATEST = 1000  # labels that the accuracy is of


@dataclass
class Given:
    """What was answered to one request.

    Attributes:
        key: Name of the API key.
        digest: Of the model.
        labels: In the order of its samples; -1: the client got none.
        routed: What another model had a part in; None: it had none.
    """

    key: str
    digest: str
    labels: Sequence[int]
    routed: Routed | None = None


@dataclass(frozen=True)
class Counted:
    """What came of a request's labels.

    Attributes:
        labelled: Answers that they were held against.
        right: Those of them that were right.
        unanswered: Samples without an answer: nothing about them is said, or labels would be a way to ask what was withheld.
    """

    labelled: int
    right: int
    unanswered: int


class Answers:
    """The latest answers of a model, by the requests' ids.

    Args:
        most: Samples that are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most, self._n = most, 0
        self._given: OrderedDict[tuple[str, str], Given] = OrderedDict()

    def note(self, id: str, key: str, digest: str, labels: Sequence[int], routed: Routed | None = None) -> None:
        """Remember an answer in place of the last with the same id of the same key; the oldest are forgotten."""
        if (found := self._given.pop((key, id), None)) is not None:
            self._n -= len(found.labels)
        self._given[key, id] = Given(key, digest, labels, routed)
        self._n += len(labels)
        while self._n > self._most and self._given:
            _, oldest = self._given.popitem(last=False)
            self._n -= len(oldest.labels)

    def take(self, id: str, key: str | None, n: int) -> Given:
        """The answer to a request, which is forgotten: a label counts once.

        Args:
            id: Of the request.
            key: Of the client that asked; None: whichever did.
            n: Labels that there are for it.

        Raises:
            DataError: no such request is remembered, several clients used the id, or it had another number of samples.
        """
        names = [place for place in self._given if place[1] == id] if key is None else [(key, id)]
        found = [place for place in names if place in self._given]
        if len(found) != 1:
            value = f"{len(found) or 'no'} requests with the id {id[:60]!r} are remembered"
            rule = f"a label belongs to one of the last {self._most} samples, and counts once"
            raise DataError(value, rule, "state the client's key" if found else "label sooner, with the id of the answer")
        given = self._given[found[0]]
        if len(given.labels) != n:
            raise DataError(f"{n} labels for {len(given.labels)} samples", "every sample of a request has one")
        del self._given[found[0]]
        self._n -= n
        return given


class Accuracy:
    """The share of right answers among the latest labelled ones."""

    def __init__(self) -> None:
        self._latest: deque[bool] = deque(maxlen=LATEST)
        self.n = self.right = 0

    def add(self, correct: npt.NDArray[np.bool_]) -> None:
        """Count labelled answers."""
        self._latest.extend(correct.tolist())
        self.n += len(correct)
        self.right += int(correct.sum())

    @property
    def latest(self) -> tuple[float, float, float] | None:
        """Accuracy on the latest, and its 95 % interval; None: nothing was labelled."""
        n = len(self._latest)
        if not n:
            return None
        right = sum(self._latest)
        return (right / n, *wilson(right, n))
