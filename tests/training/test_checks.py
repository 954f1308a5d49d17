"""Bad input is refused before any work starts, with a remedy."""

import pytest
from torch import nn

from martensite.core.errors import ConfigError, DataError, ModelError
from martensite.data import Dataset
from martensite.models import Classifier
from martensite.training import TrainingSettings, fit
from martensite.training.objectives import Standard


def refused(error, match, *args):
    events = []
    with pytest.raises(error, match=match):
        fit(*args, listener=events.append)
    assert not events


def test_batch_statistics_of_single_samples(tools, data, validation):
    settings = TrainingSettings(epochs=1, batch_size=1)
    refused(
        ModelError,
        r"batch has 1 sample and layer 1 normalises",
        tools.make_model("noisy"),
        data,
        validation,
        Standard(),
        settings,
    )
    fit(tools.make_model(), data, validation, Standard(), settings)  # without batch normalisation there is nothing to say
    norm = Classifier(nn.BatchNorm1d(6), 6)
    refused(ModelError, "layer net normalises", norm, data, validation, Standard(), settings)


def test_labels_missing_from_the_training_split(tools, data, validation):
    model = Classifier(nn.Linear(6, 4), 4)
    fewer = Dataset(data.x, data.y * 2, 4)  # classes 0 and 2
    other = Dataset(validation.x, validation.y, 4)
    refused(DataError, r"no sample of class 1, 3", model, fewer, other, Standard(), TrainingSettings(epochs=1))


def test_a_validation_split_too_small_for_the_precision_asked(tools, data, validation):
    settings = TrainingSettings(epochs=1, validation_margin=0.05)
    refused(DataError, r"has 40 samples.*needs 385.*hold out 385", tools.make_model(), data, validation, Standard(), settings)
    wide = TrainingSettings(epochs=1, validation_margin=0.2)
    fit(tools.make_model(), data, validation, Standard(), wide)  # 25 would do


def test_layouts_and_augmentations_of_images_for_tables(tools, data, validation):
    for wrong in ({"channels_last": True}, {"augment": ("crop",)}):
        settings = TrainingSettings(epochs=1, **wrong)
        refused(DataError, "for images", tools.make_model(), data, validation, Standard(), settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"average": "emma"},
        {"augment": ("flap",)},
        {"guards": {"watch": ({"kind": "divergense"},)}},
        {"guards": {"samples": 0}},
        {"ramp": {"until": 0.0}},
        {"milestones": (1.5,)},
        {"warmup": 1.0},
        {"clip": 0.0},
        {"label_smoothing": 1.0},
        {"precision": "float8"},
        {"validation_margin": 0.5},
        {"save_updates": 0},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError):
        TrainingSettings(**wrong)


def test_settings_are_rebuilt_from_their_record():
    settings = TrainingSettings(
        average={"kind": "ema", "decay": 0.99}, augment=("crop", {"kind": "cutout", "size": 3}), ramp={"until": 0.25}, clip=1.0,
        guards={"watch": ("divergence", {"kind": "clean_floor", "floor": 0.9}), "every": 10},
    )  # fmt: skip
    assert TrainingSettings.parse(settings.model_dump(mode="json")) == settings
    assert TrainingSettings.parse(TrainingSettings(guards=None).model_dump(mode="json")).guards is None


def test_what_changes_no_result_is_not_part_of_the_identity():
    one, other = TrainingSettings(save_updates=3), TrainingSettings()
    assert one.identity() == other.identity()
    assert TrainingSettings(clip=1.0).identity() != other.identity()
