"""What a training run refuses before it starts."""

from collections.abc import Callable

import torch
from torch import nn

from martensite.core.errors import DataError, ModelError, ThreatError
from martensite.data.checks import check_inputs
from martensite.data.dataset import Dataset
from martensite.models import Classifier, probe
from martensite.threat import ThreatModel
from martensite.training.settings import TrainingSettings
from martensite.training.validation import needed_samples

# Private in torch: the common base of its batch normalisation layers, lazy and synchronised ones included.
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_run(
    model: Classifier, data: Dataset, validation: Dataset, settings: TrainingSettings, threat: ThreatModel | None
) -> None:
    """Refuse a run that can't work, or whose figures would mean little.

    Raises:
        DataError: inputs outside the model's box, classes that it doesn't have or that training never shows, validation data that
            is the training data or too small, images that aren't.
        ThreatError: a threat model that doesn't fit the data, the model or an attack.
        ModelError: a defended model, no trainable parameter, a wrong output, batch statistics of single samples.
    """
    if names := getattr(getattr(model, "defence", None), "names", ()):
        raise ModelError(
            f"the model is defended ({', '.join(names)})",
            "detectors are calibrated for the weights that they were fitted to",
            "train the bare model (model.base), then put its defences around it again",
        )
    _check_model(model, data, settings)
    _check_classes(model, data, validation)
    if data.digest == validation.digest:
        raise DataError(
            "training and validation data are the same", "the best epoch is chosen on held-out data", "split the data"
        )
    if data.shape != validation.shape:
        raise DataError(
            f"training inputs have shape {data.shape} and validation inputs {validation.shape}", "both must mean the same inputs"
        )
    for part in (data, validation):
        check_inputs(part.x, model.box)
    if (settings.augment or settings.channels_last) and len(data.shape) != 3:
        raise DataError(
            f"inputs have shape {data.shape}",
            "augmentation and channels_last are for images (C, H, W)",
            "leave augment empty and channels_last off",
        )
    margin = settings.validation_margin
    if margin is not None and len(validation) < (needed := needed_samples(margin)):
        raise DataError(
            f"the validation split has {len(validation)} samples",
            f"a 95 % interval of +-{margin:g} needs {needed}",
            f"hold out {needed} samples, or ask for a wider validation_margin",
        )
    if threat is not None:
        _check_threat(model, data, validation, settings, threat)
    probe(model, data.x[:2])


def check_floor(floor: float, clean: Callable[[], float]) -> None:
    """Refuse a floor of clean accuracy above what training starts from; ``clean`` measures that."""
    if floor and (start := clean()) < floor:
        raise ModelError(
            f"the clean accuracy before training is {start:.3f}",
            f"the guard's floor is {floor:g}, and hardening doesn't raise clean accuracy",
            f"lower the floor below {start:.3f}, or start from a better model",
        )


def _check_model(model: Classifier, data: Dataset, settings: TrainingSettings) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("every parameter of the model is frozen", "training needs some that require a gradient", "unfreeze them")
    norms = [name for name, module in model.net.named_modules() if isinstance(module, BATCH_NORM)]
    if norms and min(settings.batch_size, len(data)) == 1:
        raise ModelError(
            f"a batch has 1 sample and layer {norms[0] or 'net'} normalises over the batch",
            "the statistics of one sample say nothing",
            "give batch_size of at least 2, or a model with group or layer normalisation",
        )


def _check_classes(model: Classifier, data: Dataset, validation: Dataset) -> None:
    if max(data.classes, validation.classes) > model.classes:
        raise DataError(
            f"the data has {max(data.classes, validation.classes)} classes and the model {model.classes}",
            "a model needs an output a class",
            f"build it with classes={data.classes}",
        )
    absent = (torch.bincount(data.y, minlength=data.classes) == 0).nonzero().flatten().tolist()
    if absent:
        raise DataError(
            f"the training split has no sample of class {', '.join(map(str, absent[:10]))}{' ...' if absent[10:] else ''}",
            "a class that training never shows can't be learnt",
            "split the data anew (stratified), or renumber the classes",
        )


def _check_threat(model: Classifier, data: Dataset, validation: Dataset, settings: TrainingSettings, threat: ThreatModel) -> None:
    if threat.goal != "untargeted":
        raise ThreatError("the threat model's goal is targeted", "training is about any wrong class", "use goal untargeted")
    threat.check_shape(data.x)
    for part in (data, validation):
        threat.check_clean(part.x)
    settings.validation_attack.check(model, threat)
