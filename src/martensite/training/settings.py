"""How a training run steps: optimiser, schedule, batches, precision, averages, guards, validation."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from martensite.attacks import ATTACKS, PGD, Attack
from martensite.core.config import Config
from martensite.core.registry import member_of
from martensite.training.augmentations import AUGMENTATIONS, Augmentation
from martensite.training.averaging import AVERAGES, Average
from martensite.training.guards import Guards
from martensite.training.ramp import Ramp
from martensite.training.schedules import Schedule, share_of_peak

NO_EFFECT_ON_RESULTS = {"save_updates"}
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainingSettings(Config):
    """Everything about a training run but the objective and the data.

    Args:
        epochs: Passes over the training data.
        batch_size: Samples an update.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        lr: Peak learning rate.
        momentum: Of sgd (Nesterov's, if it isn't zero).
        weight_decay: L2 penalty (decoupled for adamw).
        schedule: See `schedules`: ``"cyclic"``, ``"cosine"``, ``"multistep"``, ``"slow_fast"`` or ``"constant"``.
        milestones: Fractions of training at which ``multistep`` drops.
        gamma: Factor of each drop.
        warmup: Fraction of training over which the learning rate rises from zero, whatever the schedule.
        clip: Largest norm of an update's gradient; None: no clipping.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).
        precision: Of the update's passes; the weights stay as they are, float16 comes with loss scaling.
        attack_precision: Of the passes that make adversarials; the adversarials themselves stay in float32.
        channels_last: Whether images and convolutions are laid out with the channels innermost.
        compile: Whether the network is compiled by `torch.compile`.
        augment: What is done to each training batch (images), in this order.
        average: `EMA` or `SWA` of the weights; at each validation both the raw and the averaged weights are measured.
        ramp: Growth of eps and steps; None: full strength from the start.
        guards: What watches over the run; None: nothing does, and a NaN is an error.
        validation_attack: What robust validation accuracy is measured with; the best weights are chosen by it.
        validate_every: Epochs from one validation to the next; the last epoch always has one.
        validate_updates: Also after every so many batches; None: at ends of epochs only.
        validation_margin: Half the width that the 95 % interval of a validation accuracy may have; None: any.
        save_updates: A checkpoint also after every so many batches; None: after epochs only. It changes no result.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-3
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 0.0
    schedule: Schedule = "cyclic"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    gamma: float = Field(default=0.1, gt=0.0, lt=1.0)
    warmup: Share = 0.0
    clip: PositiveFloat | None = None
    label_smoothing: Share = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    attack_precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    augment: tuple[Annotated[Augmentation, member_of(AUGMENTATIONS)], ...] = ()
    average: Annotated[Average, member_of(AVERAGES)] | None = None
    ramp: Ramp | None = None
    guards: Guards | None = Guards()
    validation_attack: Annotated[Attack, member_of(ATTACKS)] = Field(default=PGD(steps=10))
    validate_every: PositiveInt = 1
    validate_updates: PositiveInt | None = None
    validation_margin: float | None = Field(default=None, gt=0.0, lt=0.5)
    save_updates: PositiveInt | None = None

    def make_optimiser(self, net: nn.Module) -> Optimizer:
        """An optimiser over the parameters that train."""
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if self.optimiser == "sgd":
            return SGD(parameters, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0, weight_decay=self.weight_decay)
        kind = Adam if self.optimiser == "adam" else AdamW
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def lr_at(self, done: float) -> float:
        """The learning rate when this fraction (0 to 1) of all updates is done."""
        return self.lr * share_of_peak(self.schedule, done, self.milestones, self.gamma, self.warmup)

    def identity(self) -> dict[str, Any]:
        """As JSON, without what changes no result: a checkpoint belongs to settings that agree in this."""
        return self.model_dump(mode="json", exclude=NO_EFFECT_ON_RESULTS)
