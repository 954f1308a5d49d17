"""Weights that became NaN, wherever a run meets them first: a guard takes it back, or it stops and says so."""

import json

import pytest
import torch

from martensite.attacks import PGD
from martensite.core.errors import ModelError, StorageError
from martensite.training import OBJECTIVES, TrainingSettings, fit
from martensite.training.guards import CatastrophicOverfitting, CleanFloor, Divergence, Figures, Guards
from martensite.training.objectives import PGDAT, Standard
from martensite.training.update import Updater

NEEDED = {"multi_norm": {"others": {"l1": 0.3}}, "consistency": {"sigma": 0.1}}
SETTINGS = TrainingSettings(epochs=3, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2))


@pytest.fixture
def poisoned(monkeypatch):
    """A step after which all weights are NaN: the fifth of the run, and no other one."""
    step, steps = Updater._step, []

    def once(self, loss):
        step(self, loss)
        steps.append(loss)
        if len(steps) == 5:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.fill_(torch.nan)

    monkeypatch.setattr(Updater, "_step", once)


@pytest.mark.parametrize("name", OBJECTIVES.names())
@pytest.mark.parametrize("every", [None, 7], ids=["each epoch", "seldom"])
def test_every_objective_recovers(poisoned, name, every, tools, data, validation, threat):
    objective = OBJECTIVES.get(name)(**NEEDED.get(name, {}))
    held = (tools.make_model(seed=7),) if name == "ensemble_at" else ()
    settings = SETTINGS.model_copy(update={"guards": Guards(every=every), "validate_updates": 2})
    result = fit(tools.make_model(), data, validation, objective, settings, threat=threat, surrogates=held)
    assert [recovery.guard for recovery in result.recoveries] == ["divergence"]
    assert "no finite numbers" in result.recoveries[0].complaint
    assert result.completed
    assert all(parameter.isfinite().all() for parameter in result.model.parameters())


@pytest.mark.parametrize("watch", [None, (CatastrophicOverfitting(),)], ids=["no guards", "another guard"])
@pytest.mark.parametrize("objective", [Standard(), PGDAT()], ids=["standard", "pgd_at"])
@pytest.mark.parametrize("validate_updates", [None, 1])
def test_without_that_guard_the_run_stops_and_says_so(
    poisoned, watch, objective, validate_updates, tools, data, validation, threat
):
    guards = None if watch is None else Guards(watch=watch, every=1)
    settings = SETTINGS.model_copy(update={"guards": guards, "validate_updates": validate_updates})
    with pytest.raises(
        ModelError, match=r"NaN or infinite in epoch 2.*training diverged, and no guard.*lower lr \(it is 0.005\)"
    ):
        fit(tools.make_model(), data, validation, objective, settings, threat=threat)


def test_a_plateau_is_no_state_to_go_back_to(monkeypatch, tools, data, validation, threat):
    """All ReLUs die in the third epoch; the state before that is alive, those that wait for the guard's patience aren't."""
    step, steps = Updater._step, []

    def kill(self, loss):
        step(self, loss)
        steps.append(loss)
        if len(steps) == 9:
            with torch.no_grad():
                first = next(layer for layer in self.model.modules() if isinstance(layer, torch.nn.Linear))
                first.bias.fill_(-1e3)

    monkeypatch.setattr(Updater, "_step", kill)
    settings = SETTINGS.model_copy(update={"epochs": 12, "guards": Guards(watch=(Divergence(patience=3, updates=6),))})
    start = fit(tools.make_model(), data, validation, Standard(), SETTINGS.model_copy(update={"epochs": 8})).model
    steps.clear()
    result = fit(start, data, validation, PGDAT(attack=PGD(steps=2)), settings, threat=threat)
    (recovery,) = result.recoveries
    assert (recovery.update, recovery.restored) == (15, 6)
    assert result.history[-1].clean > 0.8


@pytest.mark.parametrize(("clean", "stuck"), [(1.0, False), (0.9961, False), (0.992, True)])
def test_chance_near_one_is_not_reached_by_a_better_model(clean, stuck):
    trace = [Figures(update, 0.1, True, clean, None, None, 0.992) for update in range(20, 120, 20)]
    assert bool(Divergence().complaint(trace)) == stuck


@pytest.mark.parametrize(("batches", "stuck"), [(1, False), (12, False), (13, True)])
def test_few_batches_are_no_plateau(batches, stuck):
    trace = [Figures(check * batches, 0.1, True, 0.5, None, None, 0.5) for check in range(1, 6)]
    assert bool(Divergence().complaint(trace)) == stuck
    assert Divergence().doubts(trace)


def test_a_stop_before_any_validation_is_worded_by_its_complaint(tools, data, validation, threat):
    settings = SETTINGS.model_copy(update={"lr": 5.0, "guards": Guards(watch=(CleanFloor(floor=0.9),), every=1, recoveries=0)})
    start = fit(tools.make_model(), data, validation, Standard(), SETTINGS.model_copy(update={"epochs": 8})).model
    with pytest.raises(ModelError, match=r"under the floor of 0.9. no weights were measured before it") as error:
        fit(start, data, validation, PGDAT(), settings, threat=threat)
    assert "diverged" not in str(error.value)


def test_a_checkpoint_that_can_t_be_written_is_known_before_the_first_epoch(tmp_path, tools, data, validation):
    (tmp_path / "file").write_text("")
    events = []
    with pytest.raises(StorageError):
        fit(tools.make_model(), data, validation, Standard(), SETTINGS, checkpoint=tmp_path / "file/c.st", listener=events.append)
    assert events == []


def test_seconds_are_those_of_all_processes(tmp_path, tools, data, validation):
    def stop(event):
        raise KeyboardInterrupt

    file = tmp_path / "c.st"
    with pytest.raises(KeyboardInterrupt):
        fit(tools.make_model(), data, validation, Standard(), SETTINGS, checkpoint=file, listener=stop)
    length = int.from_bytes(file.read_bytes()[:8], "little")
    before = json.loads(json.loads(file.read_bytes()[8 : 8 + length])["__metadata__"]["record"])["seconds"]
    result = fit(tools.make_model(), data, validation, Standard(), SETTINGS, checkpoint=file)
    parts = result.cost
    assert result.seconds > before > 0
    assert result.seconds >= parts.update.seconds + parts.attack.seconds + parts.validation.seconds + parts.guards.seconds
