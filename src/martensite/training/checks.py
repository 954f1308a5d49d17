"""What a training run refuses before it starts."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from martensite.core.errors import DataError, ModelError, ThreatError
from martensite.data.checks import check_inputs
from martensite.data.dataset import Dataset
from martensite.models import Classifier, probe
from martensite.threat import ThreatModel
from martensite.training.objective import Objective
from martensite.training.settings import TrainingSettings
from martensite.training.validation import needed_samples

# Private in torch: the common base of its batch normalisation layers, lazy and synchronised ones included.
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_run(
    model: Classifier,
    data: Dataset,
    validation: Dataset,
    settings: TrainingSettings,
    threat: ThreatModel | None,
    objective: Objective | None = None,
    surrogates: Sequence[Classifier] = (),
) -> None:
    """Refuse a run that can't work, or whose figures would mean little.

    Who trains several times, such as the phases of a recipe or the points of a sweep, asks about all before the first.

    Args:
        model: Where training starts from.
        data: Training data.
        validation: Held-out data.
        settings: Of the run.
        threat: The adversary; None: there is none.
        objective: What is to be minimised; None: it isn't looked at.
        surrogates: Models held beside the one in training.

    Raises:
        DataError: inputs outside the model's box, classes that it doesn't have or that training never shows, validation data that
            is the training data or too small, images that aren't.
        ThreatError: a threat model that doesn't fit the data, the model, the ramp or an attack.
        ModelError: a defended model, no trainable parameter, weights in float16, a wrong output, batch statistics of single
            samples, a surrogate or layers that the objective can't work with.
        ConfigError: parameters of the objective that don't go with the threat model, surrogates missing.
        AccessError: an attack that needs more than the model grants.
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
    if objective is not None and threat is not None:
        objective.check(model, threat, data.x[:2], surrogates)


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
    if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
        raise ModelError(
            "the model's weights are float16",
            "most updates are too small for a weight of 11 bits to move by",
            "convert it (model.float()), and give precision='float16' for passes in float16",
        )
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
    ramp = settings.ramp
    if threat.norm == "l0" and ramp is not None and threat.eps * ramp.eps_at(0.0) < 1:
        raise ThreatError(
            f"the ramp starts at {ramp.eps_from:g} of the {threat.eps:g} features of eps (l0)",
            "an L0 eps is at least one feature",
            f"give eps_from of at least {1 / threat.eps:.3g}, or leave the ramp out",
        )
