"""Holes in the heap go back to the system."""

from pathlib import Path

import pytest
import torch

from martensite.core import heap

STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists() or heap._malloc_trim() is None, reason="needs Linux and glibc")
def test_what_is_free_goes_back_even_from_between_what_is_not():
    def resident():
        return int(STATM.read_text().split()[1]) * 4096

    kept, freed = [], []
    for _ in range(1000):  # each too small to be mapped on its own, a small one behind it that stays
        freed.append(torch.ones(20_000))
        kept.append(torch.ones(200))
    full = resident()
    del freed
    heap.trim()
    assert resident() < full - 1000 * 20_000 * 4 // 2
    assert all(bool((one == 1).all()) for one in kept)


@pytest.fixture
def without_symbols(monkeypatch):
    heap._malloc_trim.cache_clear()
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    yield
    heap._malloc_trim.cache_clear()


def test_a_library_that_cannot_is_left_alone(without_symbols):
    assert heap._malloc_trim() is None
    heap.trim()
