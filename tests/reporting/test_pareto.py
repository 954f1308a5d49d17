"""The picture of a sweep: every point in it, as SVG that stands by itself."""

import xml.etree.ElementTree as ElementTree

import pytest

from martensite.reporting import pareto_chart
from martensite.training.objectives import PGDAT, TRADES
from martensite.training.sweep import Outcome, Point, SweepResult


def outcome(objective, clean, robust, **more):
    return Outcome(
        point=Point(eps=0.1, objective=objective), rung=0, epochs=2, clean=clean, robust=robust, cost=5.0, seconds=1.0, **more
    )


@pytest.fixture
def result():
    outcomes = (
        outcome(PGDAT(mix=0.25), 0.97, 0.6),
        outcome(TRADES(beta=1.0), 0.99, 0.4),
        outcome(TRADES(beta=3.0), 0.9, 0.5, stopped=True),
        outcome(PGDAT(), 0.0, 0.0, failure="diverged"),
    )
    return SweepResult(outcomes, (0, 1), 0, "because", None, (0.995, 0.01), 200)


def test_it_is_svg_that_needs_nothing_else(result):
    svg = pareto_chart(result, 0.95)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--" not in svg
    assert "href" not in svg
    assert "<script" not in svg


def test_points_of_the_front_are_named_and_failures_are_left_out(result):
    svg = pareto_chart(result)
    assert "pgd_at(mix=0.25) eps 0.1" in svg
    assert "trades(beta=1) eps 0.1" in svg
    assert "trades(beta=3) eps 0.1" not in svg  # a mark, no name
    assert "pgd_at eps 0.1" not in svg
    for kind in ("chosen", "Pareto front", "stopped early", "before hardening"):
        assert kind in svg
    assert "trained to the end" not in svg
    # Five kinds of legend marks at most; four points and the start have one mark each.
    assert svg.count('aria-roledescription="point"') == 4


def test_the_floor_is_a_line(result):
    assert pareto_chart(result, 0.95).count("stroke-dasharray") > pareto_chart(result).count("stroke-dasharray")
