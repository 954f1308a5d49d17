"""Recipes: what the shipped ones are, how they are changed, and phases that follow one another."""

import copy
import math

import pytest
import yaml

from martensite.core.errors import ConfigError, InputError
from martensite.data import Dataset
from martensite.threat import ThreatModel
from martensite.training import OBJECTIVES, Phase, Recipe, TrainingSettings, fit, harden, load_recipe
from martensite.training.logs import CSVLog
from martensite.training.objectives import PGDAT

SHIPPED = ("balanced", "fast", "thorough")
QUICK = {"batch_size": 32, "lr": 5e-3, "validation_attack": {"kind": "pgd", "steps": 2}}
TWO = {
    "name": "two",
    "phases": [
        {"objective": {"kind": "fgsm_at"}, "settings": {"epochs": 2, **QUICK}},
        {"objective": {"kind": "pgd_at", "attack": {"kind": "pgd", "steps": 2}}, "settings": {"epochs": 1, **QUICK}},
    ],
}


@pytest.fixture
def two():
    return Recipe.parse(copy.deepcopy(TWO))


# what is shipped


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_named_like_its_file_and_says_what_it_is_for(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert Recipe.parse(recipe.model_dump(mode="json")) == recipe


def test_the_cheap_recipe_is_the_cheapest_by_declared_passes():
    def passes(recipe, n=1280):
        total = 0
        for phase in recipe.phases:
            search, update = phase.objective.search_passes(n), phase.objective.update_passes(n)
            total += phase.settings.epochs * (sum(search) + sum(update))
        return total / (2 * n)

    fast, balanced, thorough = (passes(load_recipe(name)) for name in ("fast", "balanced", "thorough"))
    assert fast <= 20  # twice a standard training of ten epochs
    assert fast < balanced < thorough


def test_the_default_is_balanced(tools, data, validation, threat):
    given = harden(tools.make_model(), data, threat, None, validation, recipe=load_recipe("balanced").scaled(1))
    default = harden(tools.make_model(), data, threat, None, validation, epochs=1)
    assert tools.same(tools.weights(given.model), tools.weights(default.model))


def test_small_data_is_gone_through_more_often():
    phase = Phase(objective=PGDAT(), settings=TrainingSettings(epochs=2, batch_size=32), least_updates=100)
    assert phase.epochs_for(320) == 10  # ten updates an epoch
    assert phase.epochs_for(321) == math.ceil(100 / 11)
    assert phase.epochs_for(32_000) == 2


# sources


def test_a_recipe_comes_from_a_file_too(tmp_path, two):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TWO))
    assert load_recipe(tmp_path / "mine.yaml") == load_recipe(str(tmp_path / "mine.yaml")) == two
    assert load_recipe(two) is two


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("fats", "did you mean 'fast'"),
        ("none.yaml", "can't be read"),
        ({**TWO, "phases": []}, "there is at least one"),
        ({**TWO, "phase": []}, "did you mean 'phases'"),
        ({**TWO, "phases": [{"objective": {"kind": "pgd_ta"}}]}, "did you mean 'pgd_at'"),
        ({**TWO, "phases": [{"objective": "pgd_at", "settings": {"epoch": 3}}]}, "did you mean 'epochs'"),
    ],
)
def test_what_is_no_recipe_is_refused(source, says):
    with pytest.raises(ConfigError, match=says):
        Recipe.parse(source) if isinstance(source, dict) else load_recipe(source)


# changes


@pytest.mark.parametrize(("epochs", "shares"), [(3, [2, 1]), (6, [4, 2]), (30, [20, 10]), (1, [1, 1]), (7, [5, 2])])
def test_epochs_are_shared_out_as_before(two, epochs, shares):
    assert [phase.settings.epochs for phase in two.scaled(epochs).phases] == shares


def test_a_parameter_of_the_objective_is_changed_where_there_is_one(two):
    assert [getattr(phase.objective, "mix", None) for phase in two.changed("mix", 0.25).phases] == [0.25, 0.25]
    steps = two.changed("attack.steps", 5)
    assert steps.phases[0] == two.phases[0]
    assert steps.phases[1].objective.attack.steps == 5
    assert two.changed("attack", {"kind": "apgd", "steps": 5}).phases[1].objective.attack.kind == "apgd"


def test_a_setting_is_changed_in_every_phase_or_in_one(two):
    assert [phase.settings.lr for phase in two.changed("settings.lr", "1e-2").phases] == [0.01, 0.01]
    assert [phase.settings.lr for phase in two.changed("2.settings.lr", 0.01).phases] == [5e-3, 0.01]
    assert two.changed("1.mix", 0.1).phases[0].objective.mix == 0.1
    averaged = two.changed("settings.average", {"kind": "ema", "decay": 0.9})
    assert {phase.settings.average.decay for phase in averaged.phases} == {0.9}


def test_epochs_that_are_set_are_what_is_trained():
    fast = load_recipe("fast")
    assert [phase.epochs_for(1280) for phase in fast.phases] == [40, 15]
    assert [phase.epochs_for(1280) for phase in fast.changed("settings.epochs", 2).phases] == [2, 2]
    assert [phase.epochs_for(1280) for phase in fast.changed("1.settings.epochs", 2).phases] == [2, 15]
    assert [phase.epochs_for(1280) for phase in fast.changed("settings.lr", 0.1).phases] == [40, 15]


def test_the_least_number_of_updates_is_set_like_a_setting():
    fast = load_recipe("fast")
    assert [phase.least_updates for phase in fast.changed("1.least_updates", 7).phases] == [7, 150]
    assert [phase.least_updates for phase in fast.changed("least_updates", 0).phases] == [0, 0]
    assert fast.changed("settings.epochs", 2).changed("2.least_updates", 30).phases[1].epochs_for(1280) == 3


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("mxi", 0.1, "did you mean 'mix'"),
        ("settings.lrr", 0.1, "did you mean 'lr'"),
        ("attack.stepz", 3, "has no key"),
        ("mix", 2.0, "less than 1"),
        ("3.mix", 0.1, "has 2"),
        ("0.mix", 0.1, "count from 1"),
        ("mix.deep", 0.1, "leads nowhere"),
        ("settings.", 0.1, "names no parameter"),
        ("least_updates", -1, "greater than or equal to 0"),
        ("1.least_updates.deep", 1, "leads nowhere"),
        ("2", 0.1, "no objective of recipe 'two' has ''"),
    ],
)
def test_changes_that_mean_nothing_are_refused(two, path, value, says):
    with pytest.raises(ConfigError, match=says):
        two.changed(path, value)


# phases


def test_a_phase_starts_from_the_best_weights_of_the_one_before(tools, data, validation, threat, two):
    result = harden(tools.make_model(), data, threat, None, validation, recipe=two, seed=4)
    first = fit(
        tools.make_model(), data, validation, two.phases[0].objective, two.phases[0].settings, threat=threat, seed=4,
        stage="harden/1",
    )  # fmt: skip
    second = fit(
        first.model, data, validation, two.phases[1].objective, two.phases[1].settings, threat=threat, seed=4, stage="harden/2"
    )
    better = max((first, second), key=lambda one: (one.best.robust, one.best.clean, one is second))
    assert tools.same(tools.weights(result.model), tools.weights(better.model))
    assert [epoch.number for epoch in result.history] == [1, 2, 3]
    assert result.history[2].update == 9  # three batches an epoch
    assert result.history[2].loss == second.history[0].loss
    assert result.forwards == first.forwards + second.forwards
    assert result.backwards == first.backwards + second.backwards
    assert result.cost.attack.forwards == first.cost.attack.forwards + second.cost.attack.forwards
    assert result.cost.epochs_by_passes == pytest.approx(first.cost.epochs_by_passes + second.cost.epochs_by_passes)
    assert result.best == max(result.history, key=lambda epoch: (epoch.robust, epoch.clean, epoch.number))


class Killed(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_goes_on_bit_by_bit(tools, data, validation, threat, two, tmp_path, epoch):
    def listener(event):
        seen.append(event)
        if len(seen) == epoch:
            raise Killed

    seen = []
    whole = harden(tools.make_model(), data, threat, None, validation, recipe=two)
    with pytest.raises(Killed):
        harden(
            tools.make_model(), data, threat, None, validation, recipe=two, checkpoint=tmp_path / "c.safetensors",
            listener=listener,
        )  # fmt: skip
    again = harden(tools.make_model(), data, threat, None, validation, recipe=two, checkpoint=tmp_path / "c.safetensors")
    assert tools.same(tools.weights(whole.model), tools.weights(again.model))
    assert [vars(one) for one in whole.history] == [vars(one) for one in again.history]
    assert (whole.forwards, whole.backwards) == (again.forwards, again.backwards)
    assert {path.name for path in tmp_path.iterdir()} == {"c.safetensors", "c.2.safetensors"}


def test_all_phases_write_into_one_log(tools, data, validation, threat, two, tmp_path):
    harden(tools.make_model(), data, threat, None, validation, recipe=two, log=CSVLog(to=str(tmp_path / "log.csv")))
    text = (tmp_path / "log.csv").read_text()
    assert text.count("harden/1") >= 2
    assert text.count("harden/2") >= 1


def test_what_is_wrong_with_a_later_phase_is_said_at_once(tools, data, validation, threat, two):
    events = []
    bad = two.changed("2.settings.validation_attack", {"kind": "deepfool"}).changed("2.settings.validation_margin", 0.001)
    with pytest.raises(InputError):
        harden(tools.make_model(), data, threat, None, validation, recipe=bad, listener=events.append)
    assert not events


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"objective": PGDAT(), "recipe": "fast"}, "together with a recipe"),
        ({"settings": TrainingSettings(), "recipe": "fast"}, "together with a recipe"),
        ({"settings": TrainingSettings(), "epochs": 3}, "together with settings"),
        ({"recipe": "fastest"}, "did you mean 'fast'"),
    ],
)
def test_contradictions_are_refused(tools, data, validation, threat, given, says):
    with pytest.raises(ConfigError, match=says):
        harden(tools.make_model(), data, threat, validation=validation, **given)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_hardens(tools, validation, name):
    train: Dataset = tools.make_data(512, 5)
    threat = ThreatModel(eps=0.08)
    plain = fit(
        tools.make_model(), train, validation, OBJECTIVES.build("standard"), TrainingSettings(epochs=8, lr=1e-2), threat=threat
    )
    recipe = load_recipe(name).scaled(4)
    hard = harden(plain.model, train, threat, None, validation, recipe=recipe)
    assert hard.best.robust >= plain.history[-1].robust
    assert hard.completed
