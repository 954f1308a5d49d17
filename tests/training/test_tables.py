"""A table hardened end to end: spambase, from the CSV to robust accuracy on test data."""

from pathlib import Path

import pytest

from martensite.attacks import PGD, attack
from martensite.data import load_data
from martensite.models import build
from martensite.threat import ThreatModel
from martensite.training import TrainingSettings, harden, load_recipe, train

SPAMBASE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "spambase" / "spambase.data"


@pytest.mark.slow
@pytest.mark.skipif(not SPAMBASE.is_file(), reason="no spambase beside the checkout")
def test_spambase(tmp_path):
    table = tmp_path / "spambase.csv"
    table.write_bytes(SPAMBASE.read_bytes())
    training, validation, test = (load_data(table, part, scale="minmax") for part in ("train", "validation", "test"))
    threat = ThreatModel(eps=0.005)
    plain = train(build("mlp", training.shape, 2), training, validation, settings=TrainingSettings(epochs=20)).model
    hard = harden(plain, training, threat, None, validation, recipe=load_recipe("fast")).model
    before, after = (attack(PGD(steps=20), model, test.x, test.y, threat) for model in (plain, hard))
    # Measured 0.94 and 0.74 before, 0.925 and 0.87 after; a standard error is about 0.01 with 920 test mails.
    assert float(after.correct.float().mean()) > 0.89
    assert float(after.robust.float().mean()) > float(before.robust.float().mean()) + 0.08
