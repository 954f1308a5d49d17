"""How a training run steps: optimiser, schedule, batches, validation."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.config import Config
from martensite.core.registry import member_of
from martensite.training.ramp import Ramp


class TrainingSettings(Config):
    """Everything about a training run but the objective and the data.

    Args:
        epochs: Passes over the training data.
        batch_size: Samples an update.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"`` (Nesterov momentum 0.9).
        lr: Peak learning rate.
        weight_decay: L2 penalty (decoupled for adamw).
        schedule: ``"cyclic"``: up in the first fifth, then down to zero; ``"cosine"``: down from the peak; ``"constant"``.
        validation_attack: What robust validation accuracy is measured with; the best epoch is chosen by it.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).
        precision: Of the update's passes; the weights stay as they are, float16 comes with loss scaling.
        attack_precision: Of the passes that make adversarials; the adversarials themselves stay in float32.
        ramp: Growth of eps and steps; None: full strength from the start.
        validate_every: Epochs from one validation to the next; the last epoch always has one.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["cyclic", "cosine", "constant"] = "cyclic"
    validation_attack: Annotated[Attack, member_of(ATTACKS)] = Field(default=PGD(steps=10))
    validate_every: PositiveInt = 1
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    attack_precision: Literal["float32", "bfloat16"] = "float32"
    ramp: Ramp | None = None

    def make_optimiser(self, net: nn.Module) -> Optimizer:
        """An optimiser over the parameters that train."""
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if self.optimiser == "sgd":
            return SGD(parameters, lr=self.lr, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)
        kind = Adam if self.optimiser == "adam" else AdamW
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def lr_at(self, done: float) -> float:
        """The learning rate when this fraction (0 to 1) of all updates is done."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * (done / 0.2 if done < 0.2 else (1 - done) / 0.8)
