"""Holes in the heap go back to the system; what a server freed stays for its next batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from martensite.core import heap

STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists() or heap._of_libc("malloc_trim") is None, reason="needs Linux and glibc")
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
    heap._of_libc.cache_clear()
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    yield
    heap._of_libc.cache_clear()


def test_a_library_that_cannot_is_left_alone(without_symbols):
    assert heap._of_libc("malloc_trim") is None
    heap.trim()


FAULTS = """
import resource, torch
from martensite.core.heap import keep
def batch():
    [torch.ones(1 << 18) for _ in range(40)]  # 40 MiB, freed at once
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
done = keep()
batch()
batch()
before = faults()
for _ in range(10):
    batch()
print(done, faults() - before)
"""


@pytest.mark.skipif(not STATM.exists() or heap._of_libc("mallopt") is None, reason="needs Linux and glibc")
def test_what_is_kept_is_not_asked_for_again():
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, text=True, check=True)
    said, count = done.stdout.split()
    assert said == "True"
    assert int(count) < 102_400 // 20  # ten batches of 10,240 pages; by glibc's own rules half of them or more, on most days


@pytest.mark.parametrize(("name", "value"), [("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")])
def test_an_allocator_that_somebody_has_set_up_is_left_alone(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert not heap.keep()
