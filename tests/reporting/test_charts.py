"""Charts as drawings."""

import re
import xml.etree.ElementTree as ET

from martensite.reporting.charts import Line, accuracy_curve

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
    assert [x for x, _ in chart.table] == [point.eps for point in samples.hardened().curve]
    assert all(point is not None for _, points in chart.table for point in points)


def test_lines_measured_at_different_places_share_a_table() -> None:
    points = samples.hardened().curve
    chart = accuracy_curve([Line("baseline", "A", points[:2]), Line("hardened", "B", points[1:3])], subject="", x_name="eps")
    assert [[point is not None for point in row] for _, row in chart.table] == [[True, False], [True, True], [False, True]]


def test_one_point_is_enough() -> None:
    assert "<path" in accuracy_curve([Line("hardened", "A", samples.hardened().curve[:1])], subject="", x_name="eps").svg


def test_drawing_twice_gives_the_same() -> None:
    assert curve() == curve()
