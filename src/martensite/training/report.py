"""The events of a training run: what listeners hear, and the fuller ones that logs get."""

from martensite.core.events import Event
from martensite.training.result import Epoch, Recovery


def epoch_event(stage: str, epoch: Epoch, epochs: int) -> Event:
    """At the end of an epoch."""
    return Event(stage, epoch.number, epochs, "epoch", _figures(epoch))


def validation_event(stage: str, epoch: Epoch, updates: int) -> Event:
    """At a validation within an epoch."""
    return Event(stage, epoch.update, updates, "update", _figures(epoch))


def recovery_event(stage: str, recovery: Recovery, updates: int) -> Event:
    """When a guard has sent the run back."""
    message = f"{recovery.complaint}; back to batch {recovery.restored} with {recovery.remedy}"
    return Event(stage, recovery.update, updates, "update", {}, message)


def detailed(event: Event, epoch: Epoch) -> Event:
    """The same event with the parts of the loss and the learning rate, for logs."""
    more = {f"loss/{name}": value for name, value in epoch.parts.items()} | {"lr": epoch.lr}
    return Event(event.stage, event.done, event.total, event.unit, {**event.metrics, **more}, event.message)


def _figures(epoch: Epoch) -> dict[str, float]:
    metrics = {"loss": epoch.loss, "clean": epoch.clean, "robust": epoch.robust}
    return {name: value for name, value in metrics.items() if value is not None}
