"""A small network trained on digits, once, with clean data that it has not seen."""

from types import SimpleNamespace

import pytest
import torch

from martensite.data import load_data
from martensite.models import build
from martensite.training import TrainingSettings, train


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Threads only get in each other's way on work this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """Parts of the digits: to train on, to learn and calibrate from, to measure on."""
    return SimpleNamespace(
        train=load_data("digits", split="train"),
        held=load_data("digits", split="test"),
        test=load_data("digits", split="validation"),
    )


@pytest.fixture(scope="session")
def model(digits):
    """It is right on nine digits in ten."""
    start = build("small_cnn", shape=(1, 8, 8), classes=10, mean=0.3, std=0.35)
    settings = TrainingSettings(epochs=3, batch_size=64, lr=3e-3)
    return train(start, digits.train, digits.test, settings=settings).model.eval()
