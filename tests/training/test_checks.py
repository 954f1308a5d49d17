"""Bad input is refused before any work starts, with a remedy."""

import pytest
from torch import nn

from martensite.attacks import PGD, SparseRS, attack
from martensite.core.errors import ConfigError, DataError, ModelError, ThreatError
from martensite.data import Dataset
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training import Ramp, TrainingSettings, fit, harden
from martensite.training.objectives import PGDAT, Standard
from martensite.training.sweep import SweepPlan, grid, sweep


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


@pytest.mark.parametrize("objective", [Standard(), PGDAT()])
def test_weights_in_float16(objective, tools, data, validation, threat):
    settings = TrainingSettings(epochs=1)
    half = tools.make_model().half()
    assert attack(PGD(steps=2), half, validation.x, validation.y, threat).adversarial.isfinite().all()  # attacked they can be
    frozen = tools.make_model()
    frozen.net[0].half().requires_grad_(False)
    for model in (half, frozen):
        refused(ModelError, "weights are float16.*precision='float16'", model, data, validation, objective, settings)
    fit(tools.make_model().bfloat16(), data, validation, objective, settings, threat=threat)


def test_a_ramp_through_less_than_one_feature(tools, data, validation):
    search, threat = SparseRS(queries=5), ThreatModel(norm="l0", eps=4)

    def run(ramp):
        events = []
        settings = TrainingSettings(epochs=2, batch_size=32, ramp=ramp, validation_attack=search, guards=None)
        objective = PGDAT(attack=search)
        try:
            harden(tools.make_model(), data, threat, objective, validation, settings=settings, listener=events.append)
        finally:
            assert len(events) in (0, 2)
        return events

    for ramp in (Ramp(), Ramp(eps_from=0.2)):
        with pytest.raises(ThreatError, match=r"ramp starts at 0.* of the 4 features.*eps_from of at least 0\.25"):
            run(ramp)
    for ramp in (Ramp(eps_from=0.25), Ramp(eps_from=1.0, steps_from=0.5)):
        assert len(run(ramp)) == 2


@pytest.mark.parametrize(
    ("objective", "error", "match"),
    [
        ({"kind": "ensemble_at"}, ConfigError, "no surrogates"),
        ({"kind": "multi_norm", "others": {"linf": 0.1}}, ConfigError, "linf among the other norms"),
        ({"kind": "pgd_at", "attack": {"kind": "ddn"}}, ThreatError, "does not search the ball"),
    ],
)
def test_a_later_point_of_a_sweep(objective, error, match, tools, data, validation, threat, tmp_path):
    plan, events = SweepPlan(points=grid([0.05], ["pgd_at", objective]), epochs=2), []
    with pytest.raises(error, match=match):
        sweep(plan, tools.make_model(), data, threat, tmp_path / "sweep", validation, listener=events.append)
    assert not events
    assert not (tmp_path / "sweep").exists()


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
