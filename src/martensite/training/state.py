"""Everything that changes while training runs, and that a guard or a resumed run puts back."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from martensite.training.averaging import Averaged
from martensite.training.context import Context
from martensite.training.guards import Figures
from martensite.training.result import Epoch
from martensite.training.settings import TrainingSettings


@dataclass(frozen=True)
class Snapshot:
    """The state between two batches.

    Attributes:
        tensors: Weights, averages, optimiser slots and the objective's state, by name.
        record: JSON: position, sums, history, and the scaler.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]


class TrainingState:
    """The state of a run.

    Args:
        context: It holds the model and the objective's state.
        settings: They say what there is besides.
        batches: Batches an epoch.

    Attributes:
        epoch: Whole epochs done.
        batch: Batches of the current epoch done.
        sums: Of this epoch so far: ``"seen"`` samples, and the ``"loss"`` and its parts times samples.
        history: Whole epochs.
        validations: All validations.
        trace: What guards saw.
        averaged: The averaged weights; None: there are none in this run.
    """

    def __init__(self, context: Context, settings: TrainingSettings, batches: int) -> None:
        self.context, self.batches = context, batches
        self.optimiser = settings.make_optimiser(context.model.net)
        scaled = settings.precision == "float16"
        self.scaler = torch.amp.GradScaler(context.model.device.type, enabled=scaled)
        self.averaged = None if settings.average is None else Averaged(settings.average)
        self.epoch = self.batch = 0
        self.sums: dict[str, float] = {}
        self.history: list[Epoch] = []
        self.validations: list[Epoch] = []
        self.trace: list[Figures] = []

    @property
    def update(self) -> int:
        """Batches done in all."""
        return self.epoch * self.batches + self.batch

    @property
    def loss(self) -> float:
        """Mean training loss of this epoch so far."""
        return self.sums.get("loss", math.nan) / self.sums.get("seen", 1)

    def add(self, figures: dict[str, float], samples: int) -> None:
        """Add a batch's loss and its parts."""
        self.sums["seen"] = self.sums.get("seen", 0) + samples
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * samples

    def figures(self) -> Epoch:
        """The epoch so far, before any validation."""
        parts = {name: total / self.sums["seen"] for name, total in self.sums.items() if name not in ("seen", "loss")}
        lr: float = self.optimiser.param_groups[0]["lr"]
        return Epoch(self.epoch + 1, self.loss, None, None, update=self.update, lr=lr, parts=parts)

    def end_epoch(self, epoch: Epoch) -> None:
        """File the epoch and begin the next."""
        self.history.append(epoch)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}

    def snapshot(self) -> Snapshot:
        """A copy of everything."""
        state = self.optimiser.state_dict()["state"]
        tensors = {f"net.{name}": tensor for name, tensor in self.context.model.net.state_dict().items()}
        tensors |= {f"state.{name}": tensor for name, tensor in self.context.state.items()}
        for index, slots in state.items():
            tensors |= {f"optimiser.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items() if value is not None}
        if self.averaged is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.averaged.tensors.items()}
        record = {
            "epoch": self.epoch,
            "update": self.update,
            "batch": self.batch,
            "sums": dict(self.sums),
            "history": [vars(item) for item in self.history],
            "validations": [vars(item) for item in self.validations],
            "trace": [vars(item) for item in self.trace],
            "scaler": self.scaler.state_dict(),
            "averaged": 0 if self.averaged is None else self.averaged.count,
        }
        return Snapshot({name: tensor.detach().clone() for name, tensor in tensors.items()}, record)

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back; the snapshot stays good for another time."""
        record, device = snapshot.record, self.context.model.device
        self.context.model.net.load_state_dict(under("net.", snapshot.tensors))
        self.context.state.clear()
        self.context.state.update({name: tensor.clone().to(device) for name, tensor in under("state.", snapshot.tensors).items()})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimiser.", snapshot.tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor.clone()
        self.optimiser.load_state_dict({"state": slots, "param_groups": self.optimiser.state_dict()["param_groups"]})
        if self.averaged is not None:
            averages = under("average.", snapshot.tensors)
            self.averaged.tensors = {name: tensor.clone().to(device) for name, tensor in averages.items()}
            self.averaged.count = record["averaged"]
        if record["scaler"]:
            self.scaler.load_state_dict(record["scaler"])
        self.epoch, self.batch, self.sums = record["epoch"], record["batch"], dict(record["sums"])
        self.history = [Epoch(**item) for item in record["history"]]
        self.validations = [Epoch(**item) for item in record["validations"]]
        self.trace = [Figures(**item) for item in record["trace"]]


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
