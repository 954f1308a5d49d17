"""The ledger: its parts add up to every pass, and its unit is a standard epoch."""

import json
import time

import pytest
import torch

from martensite.attacks import PGD
from martensite.training import TrainingSettings, fit
from martensite.training.ledger import Ledger, Passes, forget_peak, peak_memory
from martensite.training.objectives import PGDAT, Standard

SETTINGS = TrainingSettings(epochs=2, batch_size=32, validation_attack=PGD(steps=2))


def test_standard_training_costs_its_epochs(tools, data, validation):
    cost = fit(tools.make_model(), data, validation, Standard(), SETTINGS.model_copy(update={"guards": None})).cost
    assert (cost.update.forwards, cost.update.backwards) == (2 * 96, 2 * 96)
    assert (cost.attack, cost.guards) == (Passes(), Passes())
    assert (cost.validation.forwards, cost.validation.backwards) == (2 * 40, 0)
    assert cost.epochs_by_passes == (4 * 96 + 80) / (2 * 96)
    # The unit is the time of this run's own updates.
    assert cost.update.seconds / cost.standard_epoch_seconds == pytest.approx(2.0)


def test_adversarial_training_is_split_by_purpose(tools, data, validation, threat):
    model = tools.make_model("counted")
    result = fit(model, data, validation, PGDAT(mix=0.5, attack=PGD(steps=3)), SETTINGS, threat=threat)
    cost = result.cost
    assert (cost.attack.forwards, cost.attack.backwards) == (2 * 96 * 3, 2 * 96 * 3)
    assert (cost.update.forwards, cost.update.backwards) == (2 * 96 * 2, 2 * 96 * 2)
    assert cost.guards.backwards > 0
    parts = (cost.update, cost.attack, cost.validation, cost.guards)
    assert sum(part.forwards for part in parts) == result.forwards == model.net.count.forwards - 2  # the probe's two samples
    assert sum(part.backwards for part in parts) == result.backwards == model.net.count.backwards
    assert 0 < sum(part.seconds for part in parts) <= result.seconds
    assert cost.epochs_by_passes == (result.forwards + result.backwards) / (2 * 96)
    assert cost.epochs_by_time > 1
    document = json.loads(json.dumps(cost.record()))
    assert document["attack"]["forwards"] == cost.attack.forwards
    assert document["epochs_by_passes"] == cost.epochs_by_passes


def test_a_ledger_is_rebuilt_from_its_record():
    ledger = Ledger(update=Passes(3, 4, 0.1), guards=Passes(1, 0, 2.5))
    assert Ledger.read(json.loads(json.dumps(ledger.record()))) == ledger
    assert (ledger.forwards, ledger.backwards, ledger.seconds) == (4, 4, 2.6)


def test_a_block_is_timed_also_when_it_fails():
    ledger = Ledger()
    with pytest.raises(ZeroDivisionError), ledger.timed("guards", torch.device("cpu")):
        time.sleep(0.02) or 1 / 0
    assert ledger.guards.seconds >= 0.02


def test_peak_memory_sees_what_was_given_back():
    device = torch.device("cpu")
    forget_peak(device)
    before = peak_memory(device)
    assert before > 0
    torch.ones(64 * 2**20).sum()  # 256 MiB, touched and dropped
    assert peak_memory(device) - before > 200 * 2**20
