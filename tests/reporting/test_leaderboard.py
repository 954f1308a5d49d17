"""The leaderboard: what compares stands together, in every order."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from martensite.reporting import render_leaderboard
from martensite.reporting.leaderboard import boards
from martensite.threat import ThreatModel


@pytest.fixture(scope="module")
def samples():
    spec = spec_from_file_location("reporting_samples", Path(__file__).with_name("samples.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_compares_stands_together(samples):
    other = samples.hardened(threat=ThreatModel(norm="l2", eps=0.5))
    found = boards({"a": samples.baseline(), "b": samples.hardened(), "c": other})
    assert sorted(sorted(name for name, _ in board.orders["name"]) for board in found) == [["a", "b"], ["c"]]


def test_each_order_is_sorted(samples):
    (board,) = boards({"a": samples.baseline(), "b": samples.hardened()})
    assert [name for name, _ in board.orders["robust"]] == ["b", "a"]
    assert [name for name, _ in board.orders["clean"]] == ["a", "b"]
    assert [name for name, _ in board.orders["name"]] == ["a", "b"]


def test_the_page_shows_all_and_escapes_names(samples):
    page = render_leaderboard({"<script>alert(1)</script>": samples.baseline(), "good": samples.hardened()})
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert page.count("good") == 4  # once in each order
