"""Twenty seconds at twice what a server can: benchmarks/soak.py in short."""

import importlib.util
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_it_answers_rightly_or_says_later_and_its_memory_is_flat(tmp_path):
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.soak(tmp_path, 20.0)
    assert found.wrong == []
    assert set(found.statuses) <= {200, 429}
    assert found.statuses[200] > 0
    assert found.flat, found.memory
    assert found.code == 0
