"""The guards at work: they look, object, and send the run back to its last good state with a remedy."""

from dataclasses import dataclass, field
from typing import Any

from martensite.training.guards import Figures, Guard, Guards, Remedy
from martensite.training.result import Recovery
from martensite.training.state import Snapshot, TrainingState
from martensite.training.validation import Probe


@dataclass
class Watch:
    """The watch over one run.

    Attributes:
        guards: Who watches.
        probe: What they look at.
        good: The last state to which nobody objected.
        rate: Factor of the learning rate by now.
        gradalign: Weight of the gradient alignment penalty by now.
        recoveries: What was done so far.
        verdict: Why the run must stop; empty: it need not.
    """

    guards: Guards
    probe: Probe
    good: Snapshot
    rate: float = 1.0
    gradalign: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    verdict: str = ""

    def due(self, update: int, epoch_ends: bool) -> bool:
        """Whether a check comes after this many batches."""
        return epoch_ends if self.guards.every is None else update % self.guards.every == 0

    def objects(self, state: TrainingState, finite: bool = True) -> bool:
        """Look at the model; if a guard objects, put the last good state back, apply the remedy, and say so.

        Args:
            state: Of the run; its trace grows by one, or it goes back.
            finite: False: the loss or the logits are no numbers, and the model need not be looked at.
        """
        update, context = state.update, state.context
        probe = self.probe
        figures = probe.look(context.model, context.ledger, update, state.loss) if finite else probe.lost(update)
        trace = [*state.trace, figures]
        guard, complaint = self._first_complaint(trace)
        if guard is None:
            state.trace = trace
            return False
        if len(self.recoveries) >= self.guards.recoveries:
            self.verdict = f"stopped after {len(self.recoveries)} recoveries: {complaint}"
            return True
        state.restore(self.good)
        state.trace = []  # a guard that waits for several checks waits anew
        remedy = self._apply(guard.remedy, state)
        self.recoveries.append(Recovery(guard.kind, complaint, update, state.update, str(remedy)))
        return True

    def keep(self, state: TrainingState) -> None:
        """Take the state, to which nobody objected, for the last good one, unless somebody doubts it already."""
        if not any(guard.doubts(state.trace) for guard in self.guards.watch):
            self.good = state.snapshot()

    def record(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the good state."""
        recoveries = [vars(item) for item in self.recoveries]
        return {"rate": self.rate, "gradalign": self.gradalign, "recoveries": recoveries, "verdict": self.verdict}

    def read(self, record: dict[str, Any], good: Snapshot) -> None:
        """From a checkpoint."""
        self.rate, self.gradalign, self.verdict, self.good = record["rate"], record["gradalign"], record["verdict"], good
        self.recoveries = [Recovery(**item) for item in record["recoveries"]]

    def _first_complaint(self, trace: list[Figures]) -> tuple[Guard | None, str]:
        for guard in self.guards.watch:
            if complaint := guard.complaint(trace):
                return guard, complaint
        return None, ""

    def _apply(self, remedy: Remedy, state: TrainingState) -> Remedy:
        context = state.context
        if remedy.level and not context.heeded:
            # The objective makes its adversarials in a way that no number of steps enters: the penalty works on any.
            remedy = Remedy(rate=remedy.rate, gradalign=0.2)
        context.level += remedy.level
        self.rate *= remedy.rate
        self.gradalign += remedy.gradalign
        return remedy
