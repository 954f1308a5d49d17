"""What is wrong with any phase of a recipe is said before the first one trains."""

import pytest
from torch import nn

from martensite.attacks import PGD
from martensite.core.errors import ConfigError, ModelError, ThreatError
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training import Recipe, TrainingSettings, harden, load_recipe, train

SHORT = {"epochs": 1, "validation_attack": {"kind": "pgd", "steps": 2}}
FIRST = {"objective": {"kind": "pgd_at", "attack": {"kind": "pgd", "steps": 2}}, "settings": SHORT}


def floored(floor):
    return {**SHORT, "guards": {"watch": [{"kind": "clean_floor", "floor": floor}]}}


@pytest.fixture
def follow(tools, data, validation, threat):
    """A recipe of these phases; the events that it gave are noted in ``follow.events``."""

    def follow(*phases, model=None, threat=threat, **options):
        follow.events = []
        recipe = Recipe.parse({"name": "test", "phases": list(phases)})
        model = tools.make_model() if model is None else model
        return harden(model, data, threat, None, validation, recipe=recipe, listener=follow.events.append, **options)

    return follow


LATER = {
    "no surrogates": ({"kind": "ensemble_at"}, ConfigError, "no surrogates"),
    "its own norm": ({"kind": "multi_norm", "others": {"linf": 0.1}}, ConfigError, "linf among the other norms"),
    "l0": ({"kind": "multi_norm", "others": {"l0": 2.0}}, ThreatError, "pgd does not support l0"),
    "l0, msd": ({"kind": "multi_norm", "others": {"l0": 2.0}, "mode": "msd"}, ThreatError, "does not support l0"),
    "an eps beyond the box": ({"kind": "multi_norm", "others": {"l2": 3.0}}, ThreatError, "no two inputs are further apart"),
    "unbounded": ({"kind": "pgd_at", "attack": {"kind": "ddn"}}, ThreatError, "ddn does not search the ball"),
    "another norm": ({"kind": "pgd_at", "attack": {"kind": "fgm"}}, ThreatError, "fgm does not support linf"),
    "for images": ({"kind": "pgd_at", "attack": {"kind": "di_fgsm"}}, ThreatError, "about images"),
    "one of several": ({"kind": "mixed", "attacks": ["pgd", "ddn"]}, ThreatError, "ddn does not search the ball"),
    "inside a wrapper": ({"kind": "awp", "inner": {"kind": "mart", "attack": "fab"}}, ThreatError, "fab does not search"),
}


@pytest.mark.parametrize("name", LATER)
def test_an_objective_that_cannot_train_is_refused(name, follow):
    objective, error, match = LATER[name]
    with pytest.raises(error, match=match):
        follow(FIRST, {"objective": objective, "settings": SHORT})
    assert not follow.events


@pytest.mark.parametrize("kind", ["fgsm_at", "two_step", "nfgsm", "sabr"])
def test_a_norm_that_an_objective_has_no_search_for(kind, follow):
    random_search = {"kind": "sparse_rs", "queries": 5}
    settings = {**SHORT, "validation_attack": random_search, "guards": None}
    first = {"objective": {"kind": "pgd_at", "attack": random_search}, "settings": settings}
    threat = ThreatModel(norm="l0", eps=2)
    follow(first, first, threat=threat)
    with pytest.raises(ThreatError, match="does not support l0"):
        follow(first, {"objective": {"kind": kind}, "settings": settings}, threat=threat)
    assert not follow.events


@pytest.mark.parametrize("kind", ["ibp", "crown_ibp", "sabr", "mtl_ibp"])
def test_layers_that_bounds_do_not_know(kind, follow):
    odd = Classifier(nn.Sequential(nn.Linear(6, 6), nn.Softmax(1), nn.Linear(6, 2)), 2)
    with pytest.raises(ModelError):
        follow(FIRST, {"objective": {"kind": kind}, "settings": SHORT}, model=odd)
    assert not follow.events


def test_a_later_floor_above_the_accuracy_at_the_start(follow):
    with pytest.raises(ModelError, match=r"guard's floor is 0\.99"):
        follow(FIRST, {**FIRST, "settings": floored(0.99)})
    assert not follow.events


def test_a_floor_that_standard_training_may_reach_first(follow):
    """The plain start is at chance; standard training is to lift it, and then the floor is `fit`'s to check."""
    standard = {"objective": {"kind": "standard"}, "settings": {**SHORT, "epochs": 12, "batch_size": 8, "lr": 0.01}}
    assert follow(standard, {**FIRST, "settings": floored(0.8)}).completed


def test_looking_at_a_later_floor_is_in_the_ledger(follow, tools, validation):
    first, second = {**FIRST, "settings": floored(0.05)}, {**FIRST, "settings": floored(0.1)}
    model = tools.make_model("counted")
    result = follow(first, second, model=model)
    # Each phase is asked two samples before the first begins, and two when it begins.
    assert result.forwards == model.net.count.forwards - 8
    assert result.backwards == model.net.count.backwards


SURROGATES = {
    "of another input shape": (lambda: nn.Linear(5, 2), 2, "surrogate 2: the model can't take an input of shape"),
    "of other classes": (lambda: nn.Linear(6, 3), 3, "surrogate 2 has 3 classes"),
    "of a wrong output": (lambda: nn.Linear(6, 3), 2, "surrogate 2: the model returns shape"),
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_surrogates_that_do_not_stand_in_for_the_model(name, wrapped, follow, tools):
    net, classes, match = SURROGATES[name]
    objective = {"kind": "awp", "inner": {"kind": "ensemble_at"}} if wrapped else {"kind": "ensemble_at"}
    held = [tools.make_model(seed=1), Classifier(net(), classes)]
    with pytest.raises(ModelError, match=match):
        follow(FIRST, {"objective": objective, "settings": SHORT}, surrogates=held)
    assert not follow.events


def test_a_surrogate_of_another_box(follow):
    with pytest.raises(ThreatError, match=r"the model's is \[-1\.0, 1\.0\]"):
        follow(FIRST, {"objective": "ensemble_at", "settings": SHORT}, surrogates=[Classifier(nn.Linear(6, 2), 2, box=(-1, 1))])
    assert not follow.events


def test_a_surrogate_of_another_precision_serves(follow, tools):
    ensemble = {"objective": {"kind": "ensemble_at", "own": 0.0, "attack": {"kind": "pgd", "steps": 2}}, "settings": SHORT}
    assert follow(ensemble, surrogates=[tools.make_model(seed=1).double()]).completed


def test_a_checkpoint_by_its_name_as_text(follow, tools, data, validation, tmp_path):
    settings = TrainingSettings(epochs=1, validation_attack=PGD(steps=2))
    train(tools.make_model(), data, validation, settings=settings, checkpoint=str(tmp_path / "train"))
    follow(FIRST, FIRST, checkpoint=str(tmp_path / "harden.safetensors"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["harden.2.safetensors", "harden.safetensors", "train"]


@pytest.mark.parametrize("epochs", [0, -3, 2.5, True])
def test_epochs_that_are_no_number_of_epochs(epochs, tools, data, validation, threat):
    for recipe in ("fast", load_recipe("balanced"), None):
        with pytest.raises(ConfigError, match="epochs is"):
            harden(tools.make_model(), data, threat, None, validation, recipe=recipe, epochs=epochs)
