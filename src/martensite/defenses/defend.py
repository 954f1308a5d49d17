"""From a model, a configuration and clean data to a defended model."""

import torch

from martensite.core.errors import ConfigError, DataError
from martensite.core.rng import derive, generator
from martensite.data.dataset import Dataset
from martensite.data.split import stratified
from martensite.defenses.defence import Defence
from martensite.defenses.defended import Defended
from martensite.models import Classifier


def defend(model: Classifier, defence: Defence, data: Dataset | None = None, *, seed: int = 0) -> Defended:
    """Put a defence around a model.

    Args:
        model: The bare model; its weights are shared, not changed.
        defence: What to put around it.
        data: Clean samples that the model was not trained on, for detectors. Where one of them learns, half of the samples teach
            and the other half calibrate, every class in proportion; else all calibrate.
        seed: Of that split and of learning.

    Raises:
        ConfigError: detectors without data, or too few samples for the rate of false alarms.
        DataError, ModelError: data or a network that doesn't fit.
    """
    if not defence.detectors:
        return Defended(model, defence)
    if data is None:
        raise ConfigError(
            "no clean data was given", "detectors are calibrated on held-out clean data", "give data=, or --calibrate DATA"
        )
    if data.classes != model.classes or tuple(data.box) != tuple(model.box):
        raise DataError(
            f"the data has {data.classes} classes in the box {list(data.box)}",
            f"the model has {model.classes} in {list(model.box)}",
            "give data of the kind that the model is for",
        )
    teach, held = torch.arange(0), torch.arange(len(data))
    if any(one.learns for one in defence.detectors):
        teach, held = stratified(data.y, (0.5, 0.5), derive(seed, "defend/split"))
    fitted = []
    for place, detector in enumerate(defence.detectors):
        lesson = teach if detector.learns else held[:1]
        one = detector.fit(model, data.x[lesson], data.y[lesson], generator(seed, "defend", place))
        fitted.append(one.calibrate(data.x[held], defence.false_alarms / len(defence.detectors)))
    return Defended(model, defence, fitted)
