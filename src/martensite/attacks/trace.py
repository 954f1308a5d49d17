"""Loss over steps: what shows whether a search had converged, kept from what the search asks anyway.

Every gradient that an attack asks for comes with the loss it climbs, so the oracle can note it without a further pass; attacks
know nothing of it. A sample that has left counts with its last loss: a mean over those still there would change because of who
left, not because of what was climbed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """One search's losses, summed so that traces of several batches add up.

    Attributes:
        name: The attack's kind; of an ensemble's member, that member's.
        loss: What was climbed.
        samples: Searched.
        total: float64 (T,) sum of the losses of all samples at each step, restarts one after the other.
        left: float64 (T,) samples still searched at each step; the others were broken.
    """

    name: str
    loss: str
    samples: int
    total: Tensor
    left: Tensor

    def __add__(self, other: "Trace") -> "Trace":
        """The same search on more samples; one that ended sooner stays where it ended."""
        rows = merged([torch.stack([one.total, one.left], 1) for one in (self, other)])
        return Trace(self.name, self.loss, self.samples + other.samples, rows[:, 0], rows[:, 1])


def merged(parts: Iterable[Tensor]) -> Tensor:
    """Sum of tables (T, 2) of losses and samples left; after its end a table keeps its losses, and nobody is left."""
    tables = [part for part in parts if len(part)]
    whole = torch.zeros(max((len(table) for table in tables), default=0), 2, dtype=torch.float64)
    for table in tables:
        whole[: len(table)] += table
        whole[len(table) :, 0] += table[-1, 0]
    return whole


class Recorder:
    """Notes the losses of one attack, batch by batch; a batch that fails leaves nothing.

    Attributes:
        samples: In the batches that were kept.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._kept: list[Tensor] = []
        self.begin(0, torch.device("cpu"))

    def begin(self, n: int, device: torch.device) -> None:
        """Take up a batch of n samples; what was noted of an unfinished one is forgotten."""
        self._last = torch.zeros(n, dtype=torch.float64, device=device)
        self._steps: list[tuple[Tensor, int]] = []
        self._replayed: Tensor | None = None

    def note(self, rows: Tensor | None, values: Tensor) -> None:
        """The losses (m,) of the samples ``rows`` (m,) of the batch, None being all of them, at its next step."""
        if rows is None:
            self._last = values.double()
        else:
            self._last[rows] = values.double()
        self._steps.append((self._last.sum(), len(values)))  # on the device: a step must not wait for a number

    def replay(self, table: Tensor) -> None:
        """What an earlier run noted of this batch."""
        self._replayed = table.double().cpu()

    @property
    def batch(self) -> Tensor:
        """(T, 2) losses and samples left, of the batch."""
        if self._replayed is not None:
            return self._replayed
        totals = torch.stack([total for total, _ in self._steps]).cpu() if self._steps else torch.zeros(0, dtype=torch.float64)
        return torch.stack([totals, torch.tensor([float(left) for _, left in self._steps], dtype=torch.float64)], 1)

    def keep(self) -> None:
        """The batch is finished."""
        self._kept.append(self.batch)
        self.samples += len(self._last)
        self.begin(0, torch.device("cpu"))

    def trace(self, name: str, loss: str) -> Trace:
        """Of all batches that were kept."""
        rows = merged(self._kept)
        return Trace(name, loss, self.samples, rows[:, 0], rows[:, 1])
