"""Charts as drawings."""

import re
import xml.etree.ElementTree as ET

from martensite.reporting.curves import Line, accuracy_curve
from martensite.reporting.scatter import Point, pareto_front, scatter_charts
from martensite.reporting.traces import trace_charts

from . import samples


def curve(**options: object) -> object:
    lines = [Line("baseline", "Baseline", samples.baseline().curve), Line("hardened", "Hardened", samples.hardened().curve)]
    return accuracy_curve(lines, subject="Accuracy", x_name="eps <&>", **options)


def test_every_colour_comes_from_the_page() -> None:
    svg = str(curve(mark=(samples.EPS, "threat model")).svg)
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
    assert {"var(--baseline)", "var(--hardened)"} <= colours
    assert all(colour in ("none", "transparent") or colour.startswith("var(--") for colour in colours), colours


def test_the_drawings_are_well_formed_and_hidden_from_screen_readers() -> None:
    root = ET.fromstring(str(curve().svg).replace("</div><div", "</div>\n<div").join(("<x>", "</x>")))
    drawings = root.findall(".//svg")
    assert [drawing.get("aria-hidden") for drawing in drawings] == ["true", "true"]
    assert all(drawing.get("viewBox") and drawing.get("width") is None for drawing in drawings)
    assert "eps <&>" in {text.text for text in root.iter("text")}
    assert not root.findall(".//*[@id]")


def test_the_text_alternative_and_the_table_give_every_figure() -> None:
    chart = curve()
    assert "Baseline, by eps <&>: 98.6% at 0, 83.6% at 0.0375" in chart.description
    assert [row[0][0] for row in chart.rows] == ["0", "0.0375", "0.075", "0.1125", "0.15", "0.225", "0.3"]
    assert chart.rows[4] == (("0.15", ""), ("0.8%", "0.2\N{EN DASH}2.4%"), ("83.9%", "79.7\N{EN DASH}87.5%"))
    assert chart.head == ("eps <&>", "Baseline", "Hardened")


def test_lines_measured_at_different_places_share_a_table() -> None:
    points = samples.hardened().curve
    chart = accuracy_curve([Line("baseline", "A", points[:2]), Line("hardened", "B", points[1:3])], subject="", x_name="eps")
    there = [[figure != "\N{EN DASH}" for figure, _ in row[1:]] for row in chart.rows]
    assert there == [[True, False], [True, True], [False, True]]


def test_one_point_is_enough() -> None:
    assert "<path" in accuracy_curve([Line("hardened", "A", samples.hardened().curve[:1])], subject="", x_name="eps").svg


def test_drawing_twice_gives_the_same() -> None:
    assert curve() == curve()


def test_a_trace_says_where_it_began_and_ended() -> None:
    traces = samples.rich().traces
    first, second = trace_charts([("baseline", "Baseline", traces[:1]), ("hardened", "Hardened", traces)])
    assert [key.label for key in first.legend] == ["Baseline", "Hardened"]
    assert [key.label for key in second.legend] == ["Hardened"]
    assert "Mean cross-entropy over the steps of pgd #1" in first.description
    assert "Hardened: 0 at step 0" in second.description
    assert "of 360 samples 85.0% were not broken by then" in second.description
    assert second.rows[0] == (("0", ""), ("0", ""), ("100.0%", ""))
    assert second.rows[-1][0][0] == "98"
    assert {"var(--baseline)", "var(--hardened)"} <= set(re.findall(r'stroke="([^"]+)"', first.svg))


def test_two_searches_of_one_name_keep_apart() -> None:
    trace = samples.rich().traces[0]
    assert len(trace_charts([("hardened", "A", [trace, trace]), ("baseline", "B", [trace])])) == 2


def point(name: str, clean: int, robust: int, cost: float | None = None) -> Point:
    return Point(name, samples.Rate.of(clean, 100), samples.Rate.of(robust, 100), cost)


def test_the_front_is_what_nothing_beats() -> None:
    points = [point("a", 90, 10), point("b", 80, 50), point("c", 70, 40), point("d", 80, 50)]
    assert pareto_front(points, by_cost=True) == [True, True, False, True]


def test_a_cheaper_model_is_on_the_front_where_all_costs_count_and_are_known() -> None:
    points = [point("a", 90, 50, 2.0), point("b", 80, 40, 1.0)]
    assert pareto_front(points, by_cost=True) == [True, True]
    assert pareto_front(points, by_cost=False) == [True, False]
    assert pareto_front([points[0], point("b", 80, 40, None)], by_cost=True) == [True, False]


def test_cost_has_its_chart_where_it_is_known() -> None:
    points = [point("a", 90, 50, 2.0), point("<b>", 80, 40, 1.0)]
    clean, cost = scatter_charts(points, "training cost, standard epochs", [True, True])
    assert "Robust accuracy over clean accuracy: a 50.0% at 90.0%" in clean.description
    assert "a 50.0% at 2 (on the front), <b> 40.0% at 1 (on the front)" in cost.description
    assert "<b>" not in str(clean.svg)
    assert len(scatter_charts([point("a", 90, 50, 2.0), point("b", 80, 40)], "x", [True, True])) == 1
