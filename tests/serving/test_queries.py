"""The query watch: a search for an adversarial is seen within its first steps, clean traffic isn't."""

import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from martensite.attacks import Square, attack
from martensite.core.errors import ConfigError
from martensite.data import load_data
from martensite.models import Access, BlackBox
from martensite.serving.queries import Queries, Watch
from martensite.threat import ThreatModel

SETTINGS = Queries(window=500, near=0.05, limit=50)


@pytest.fixture
def digits():
    return (load_digits().data / 16).astype(np.float32).reshape(-1, 1, 8, 8)


def watch(seed=0, **changes):
    return Watch(SETTINGS.model_copy(update=changes), (1, 8, 8), 1.0, np.random.default_rng(seed))


def test_distances_in_the_projection_are_root_mean_squares():
    chance = np.random.default_rng(0)
    for size, near in ((0.02, True), (0.2, False)):
        seen = watch()
        for _ in range(30):
            base = chance.random((1, 1, 8, 8)).astype(np.float32)
            step = chance.standard_normal(base.shape).astype(np.float32)
            seen.see("k", base)
            count = seen.see("k", base + size * step / np.sqrt(np.square(step).mean()))
        assert (count >= 29) if near else (count <= 1)


def test_clean_traffic_is_not_flagged(digits):
    assert watch().see("k", digits) < SETTINGS.limit


def test_the_same_input_again_is_no_step_of_a_search(digits):
    seen = watch()
    for _ in range(3):
        assert seen.see("k", digits[:100]) <= 3


def test_a_search_by_queries_is_flagged_early(digits):
    """Square of the attacks room against a linear model: the watch flags it within its first queries."""
    data = load_data("digits", "test", limit=1)
    weights = np.random.default_rng(1).standard_normal((64, 10)).astype(np.float32)
    seen, counts = watch(), []

    def predict(x):
        counts.append(seen.see("attacker", x.astype(np.float32)))
        return x.reshape(len(x), -1) @ weights

    labels = predict(data.x.numpy()).argmax(1)
    import torch

    attack(Square(queries=200), BlackBox(predict, 10, access=Access.SCORES), data.x, torch.from_numpy(labels),
           ThreatModel(norm="linf", eps=0.01), seed=0)  # fmt: skip
    assert max(counts) >= SETTINGS.limit
    assert next(place for place, count in enumerate(counts) if count >= SETTINGS.limit) < 100


def test_keys_are_watched_apart_and_what_left_the_window_is_forgotten(digits):
    seen = watch(window=20)
    noise = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32) * 0.01
    assert seen.see("a", digits[:1] + noise) >= 19
    assert seen.see("b", digits[1:2]) == 0
    assert seen.see("a", digits[100:140]) <= 2


def test_many_comparisons_are_made_beside_the_event_loop(served, x, monkeypatch):
    server, where = served(model={"queries": {"window": 10_000}}), []
    monkeypatch.setattr(Watch, "see", lambda self, key, x: where.append(threading.current_thread()) or 0)
    assert server.infer(x[:1]).status_code == 200
    assert server.infer(x).status_code == 200
    assert where[0] is server.portal.thread
    assert where[1] is not server.portal.thread
    with pytest.raises(ConfigError):
        Queries.parse({"window": 10_001})
