"""The best weights so far, by accuracy on held-out data."""

from dataclasses import replace

from torch import Tensor, nn

from martensite.training.plan import Plan
from martensite.training.result import Epoch
from martensite.training.state import TrainingState
from martensite.training.validation import measure, swapped

NONE_YET = Epoch(0, float("inf"), 0.0, None)


class Best:
    """The best validation so far and its weights.

    Args:
        plan: Of the run.
        net: Its weights are the best until there is a validation.

    Attributes:
        epoch: Figures of the best validation; number 0 before there was one.
        weights: State dict.
    """

    def __init__(self, plan: Plan, net: nn.Module) -> None:
        self.plan = plan
        self.epoch, self.weights = NONE_YET, copied(net.state_dict())
        self._floor = 0.0 if plan.settings.guards is None else plan.settings.guards.floor

    @property
    def above_floor(self) -> bool:
        """Whether the best weights keep the guards' floor of clean accuracy."""
        return (self.epoch.clean or 0.0) >= self._floor

    def validate(self, state: TrainingState, figures: Epoch) -> Epoch:
        """Measure the raw and, if there are any, the averaged weights; the better of them may become the best.

        Args:
            state: Of the run; its list of validations grows.
            figures: Of the epoch so far.

        Returns:
            The figures with the accuracies of the better weights.
        """
        found = [self._measured(state, figures, "raw")]
        averages = {} if state.averaged is None else state.averaged.tensors
        if averages:
            with swapped(state.context.model.net, averages):
                found.append(self._measured(state, figures, "average"))
        chosen = max(found, key=self._score)
        state.validations.append(chosen)
        if self._score(chosen) >= self._score(self.epoch):
            self.epoch = chosen
            self.weights = copied(state.context.model.net.state_dict() if chosen.weights == "raw" else averages)
        return chosen

    def _measured(self, state: TrainingState, figures: Epoch, weights: str) -> Epoch:
        plan, context = self.plan, state.context
        clean, robust = measure(context.model, plan.validation, plan.settings, plan.threat, plan.seed, context.ledger)
        return replace(figures, clean=clean, robust=robust, weights=weights)

    def _score(self, epoch: Epoch) -> tuple[bool, float, float]:
        """Above the floor first, then robust accuracy, and clean accuracy to break ties."""
        clean = -1.0 if epoch.clean is None else epoch.clean
        return clean >= self._floor, -1.0 if epoch.robust is None else epoch.robust, clean


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with memory of their own."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
